"""The reference implementation: frames to messages, slow and obvious, the oracle for the compiled one.

It works on a whole capture at once and in passes (decode all, group all, join all, frame all), so the order
of the frames cannot matter except where a rule says 'first seen'.  It shares no code with the compiled
modules but the message record and the hash of an id.
"""

from reference.assembly import assemble, read_messages
from reference.decode import Segment, decode
from reference.errors import Refused

__all__ = ["Refused", "Segment", "assemble", "decode", "read_messages"]
