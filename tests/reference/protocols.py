"""Other protocols than HTTP/1.x by regular expressions over whole bytes: the oracle for assemble/protocols.pyx.

In: the bytes that begin a direction.  Out: a name.
"""

import re
from typing import Final

CLIENT: Final = 1
SERVER: Final = 2
LINE: Final = rb"[\x20-\x7e\x80-\xff\t]*\r?\n"
WORD: Final = rb"[\x21-\x7e\x80-\xff]*\r?\n"

NAMES: Final = [
    ("tls", 0, rb"[\x14-\x17]\x03[\x00-\x04]([\x00-\x47].|\x48\x00)"),
    ("tls", CLIENT, rb"[\x80-\xff].\x01(\x03[\x00-\x03]|\x00\x02\x00)"),
    ("http2", CLIENT, rb"PRI \* HTTP/2\.0\r\n\r\nSM\r\n\r\n"),
    ("http2", SERVER, rb"\0\0.\x04\0\0{4}"),
    ("http09", CLIENT, rb"GET (/|https?://)" + WORD),
    ("ssh", 0, rb"SSH-(2\.0-|1\.\d)" + LINE),
    ("mail_or_ftp", SERVER, rb"(220[ -]|\+OK |\* (OK|PREAUTH) )" + LINE),
    ("mail_or_ftp", CLIENT, rb"(?i:EHLO|HELO|USER) " + LINE),
    ("mail_or_ftp", CLIENT, rb"(?i:CAPA)\r\n"),
    ("redis", 0, rb"\*\d+\r\n"),
    ("redis", SERVER, rb"[$:%]\d+\r\n|\+(OK|PONG)\r\n"),
    ("redis", SERVER, rb"-(ERR|NOAUTH) " + LINE),
    ("memcached", CLIENT, rb"(get [!-.0-~]|gets [!-~])" + LINE),
    ("memcached", SERVER, rb"(VALUE|STAT) [!-~]" + LINE),
    ("memcached", SERVER, rb"(STORED|END)\r\n"),
    ("postgresql", CLIENT, rb"\0\0[\0-\x27].\0\x03\0[\0-\x02]"),
    ("postgresql", CLIENT, rb"\0\0\0[\x08\x10]\x04\xd2\x16[\x2e-\x30]"),
    ("postgresql", SERVER, rb"R\0\0[\0\x01].\0\0\0[\0-\x0c]|E\0\0..S|S\x16\x03[\0-\x04]"),
    ("amqp", 0, rb"AMQP[\0-\x03][\0\x01][\0-\x09][\0\x01]"),
    ("amqp", SERVER, rb"\x01\0\0\0...\0\x0a\0\x0a"),
    ("mqtt", CLIENT, rb"\x10([\x80-\xff]{1,2}[\x01-\x7f]|[\0-\x7f])\0\x04MQTT[\x03-\x05]"),
    ("mqtt", CLIENT, rb"\x10[\0-\x7f]\0\x06MQIsdp\x03"),
    ("mqtt", SERVER, rb"\x20\x02[\0\x01][\0-\x05]"),
    ("rtsp", 0, rb"[A-Z]{3}[\x20-\x7e\x80-\xff\t]* RTSP/1\.0\r?\n|RTSP/[12]\.0 " + LINE),
    ("sip", 0, rb"[A-Z]{3}[\x20-\x7e\x80-\xff\t]* SIP/2\.0\r?\n|SIP/2\.0 " + LINE),
    ("icap", CLIENT, rb"[A-Z]{3}[\x20-\x7e\x80-\xff\t]* ICAP/1\.0\r?\n"),
    ("icap", SERVER, rb"ICAP/1\.0 " + LINE),
    ("fastcgi", CLIENT, rb"\x01\x01..\0\x08.\0\0[\x01-\x03][\0\x01]\0{5}"),
    ("ajp", CLIENT, rb"\x12\x34[\0-\x1f].[\x02\x07-\x0a]"),
    ("ajp", SERVER, rb"AB[\0-\x1f].[\x03-\x06\x09]"),
    ("socks", CLIENT, rb"\x05(\x01[\0\x02]|\x02\0[\x01\x02]|\x03\0\x01\x02)"),
    ("socks", SERVER, rb"\x05\0\x05[\0-\x08]\0[\x01\x03\x04]"),
    ("mssql", CLIENT, rb"\x12\x01[\0-\x0f].\0\0[\0\x01]\0\0\0"),
    ("mssql", SERVER, rb"\x04\x01[\0-\x0f].\0\0\x01\0\0\0"),
    ("ldap", 0, rb"0([\0-\x7f]|\x84\0\0..)\x02\x01[\x01-\x7f][`acdewx]"),
    ("rdp", CLIENT, rb"\x03\0(\0\x13\x0e\xe0\0{5}\x01.\x08\0|[\0\x01]..\xe0\0{5}Cookie: )"),
    ("rdp", SERVER, rb"\x03\0\0\x13\x0e\xd0\0\0..\0[\x02\x03].\x08\0"),
    ("smb", 0, rb"\0...[\xfd-\xff]SMB"),
    ("dns", CLIENT, rb"\0[\x11-\xff]..\x01[\0 \x100]\0\x01\0{5}[\0\x01]"),
    ("vnc", 0, rb"RFB 003\.00\d\n"),
    ("mysql", SERVER, rb".[\0\x01]\0\0(\n\d|\xff.[\x03-\x0f])"),
    ("mongodb", 0, rb"..[\0-\x02]\0.{8}[\xd4\xdc\xdd]\x07\0\0"),
    ("mongodb", SERVER, rb"..[\0-\x02]\0.{8}\x01\0\0\0"),
    ("mysql", CLIENT, rb".[\0-\x0f]\0\x01.{9}\0{19}"),
]
"""Name, who sends it (0: either), expression; the first that matches counts."""

HTTP: Final = re.compile(rb"HTTP/1\.|[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [^\n]* HTTP/1\.\d *\r?\n")
LINE_MOST: Final = 8192


def name_of(data: bytes, kind: int) -> str | None:
    """Name what the client (1), the server (2) or either (0) begins with; None if it has no name."""
    if HTTP.match(data):
        return None
    for name, sender, expression in NAMES:
        found = re.match(expression, data, re.DOTALL)
        if found and found.end() <= LINE_MOST and (not kind or not sender or kind == sender):
            return name
    return None


PROXY_LINE: Final = re.compile(
    rb"(?!.* HTTP/1\.\d *\r\n)PROXY (?:TCP[46](?: [0-9a-fA-F.:]*){4}|UNKNOWN[^\r\n]*)\r\n"
)  # the line as a whole: at most 107 bytes
PROXY_BLOCK: Final = re.compile(rb"\r\n\r\n\0\r\nQUIT\n[\x20\x21].(..)", re.DOTALL)


def proxy_size(data: bytes) -> int:
    """Give the size of the PROXY protocol header that bytes begin with, whole; 0 if there is none."""
    if line := PROXY_LINE.match(data):
        return line.end() if line.end() <= 107 else 0
    block = PROXY_BLOCK.match(data)
    size = 16 + int.from_bytes(block[1], "big") if block else 0
    return size if size <= len(data) else 0
