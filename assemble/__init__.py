"""Frames to messages: decode, reassembly, HTTP framing, pairing; usable as a library, without any process.

import assemble
for message in assemble.messages("shop.pcap", ports=[8080]):
    print(message.kind, message.method, message.target, message.status)
"""

from assemble.flows import message_id
from assemble.library import MessageStream, messages
from assemble.message import Message
from assemble.settings import Settings

__all__ = ["Message", "MessageStream", "Settings", "message_id", "messages"]
