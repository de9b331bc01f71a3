"""Why the reference refuses a frame."""


class Refused(Exception):
    """Says in one word why a frame holds no TCP segment for us."""
