"""The Python face of the assembler's counters (assemble/tally.pxd)."""

ASSEMBLE_COUNTERS = tuple(member.name for member in Tally if member != Tally.TALLIES)
"""The counters of an assembler process, in the order of its page."""
