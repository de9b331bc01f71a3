"""Disturbed HTTP/1.x traffic by seed, with what must come out of it: an independent check of the compiled core.

In: a mode and a seed number.  Out: frames, and complaints about what an assembler made of them.  Invariant: a seed
alone reproduces a case; nothing here is shared with the hypothesis strategies or with the code under test.
"""
