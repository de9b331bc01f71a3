"""By which first bytes of a direction other protocols than HTTP/1.x are known, with the source of each pattern.

In: nothing.  Out: the table that assemble/protocols.pyx matches; the first entry that matches counts.  Invariant: no
entry can match what an HTTP/1.x start line begins with: it holds, early enough, a byte that has no place there, or it
is a line and counts once that has ended in no HTTP version.  Only what first bytes tell surely is here.
"""

from dataclasses import dataclass
from typing import Final, Literal

from assemble.records import REQUEST, RESPONSE

EITHER: Final = 0
TEXT: Final = "text"
WORD: Final = "word"
DIGITS: Final = "digits"


@dataclass(frozen=True, slots=True)
class Pattern:
    """First bytes that tell a protocol."""

    name: str  # its counter is skipped_<name>
    sender: int  # REQUEST: the client sends this first, RESPONSE: the server, EITHER
    head: str  # hexadecimal bytes, 14-17 a range, 01|03 a choice, .. any, 'text' as it is
    rest: Literal["", "text", "word", "digits"] = ""  # of the line: no controls, no spaces either, digits up to CR LF
    tail: str = ""  # what the line ends in


PATTERNS: Final[tuple[Pattern, ...]] = (
    # TLS: type, version, length up to 2**14 + 2048 (RFC 5246 6.2.3, RFC 8446 5.1); SSLv2 hello (RFC 5246 E.2)
    Pattern("tls", EITHER, "14-17 03 00-04 00-47 .."),
    Pattern("tls", EITHER, "14-17 03 00-04 48 00"),
    Pattern("tls", REQUEST, "80-ff .. 01 03 00-03"),
    Pattern("tls", REQUEST, "80-ff .. 01 00 02 00"),
    # HTTP/2: the preface; SETTINGS come first from a server (RFC 9113 3.4, 4.1, 6.5)
    Pattern("http2", REQUEST, "'PRI * HTTP/2.0' 0d 0a 0d 0a 'SM' 0d 0a 0d 0a"),
    Pattern("http2", RESPONSE, "00 00 .. 04 00 00 00 00 00"),
    # HTTP/0.9: a request that is a line without a version (RFC 1945 4.1, 5)
    Pattern("http09", REQUEST, "'GET /'", WORD),
    Pattern("http09", REQUEST, "'GET http://'", WORD),
    Pattern("http09", REQUEST, "'GET https://'", WORD),
    # SSH: its version line (RFC 4253 4.2)
    Pattern("ssh", EITHER, "'SSH-2.0-'", TEXT),
    Pattern("ssh", EITHER, "'SSH-1.' 30-39", TEXT),
    # SMTP, FTP, POP3, IMAP: greetings look alike (RFC 5321 4.2, RFC 959 5.4, RFC 1939 4, RFC 3501 7.1); first commands
    Pattern("mail_or_ftp", RESPONSE, "'220 '", TEXT),
    Pattern("mail_or_ftp", RESPONSE, "'220-'", TEXT),
    Pattern("mail_or_ftp", RESPONSE, "'+OK '", TEXT),
    Pattern("mail_or_ftp", RESPONSE, "'* OK '", TEXT),
    Pattern("mail_or_ftp", RESPONSE, "'* PREAUTH '", TEXT),
    Pattern("mail_or_ftp", REQUEST, "45|65 48|68 4c|6c 4f|6f 20", TEXT),
    Pattern("mail_or_ftp", REQUEST, "48|68 45|65 4c|6c 4f|6f 20", TEXT),
    Pattern("mail_or_ftp", REQUEST, "55|75 53|73 45|65 52|72 20", TEXT),
    Pattern("mail_or_ftp", REQUEST, "43|63 41|61 50|70 41|61 0d 0a"),
    # Redis: arrays of bulk strings one way; the other way replies (RESP protocol specification)
    Pattern("redis", EITHER, "'*' 30-39", DIGITS),
    Pattern("redis", RESPONSE, "'$' 30-39", DIGITS),
    Pattern("redis", RESPONSE, "':' 30-39", DIGITS),
    Pattern("redis", RESPONSE, "'%' 30-39", DIGITS),
    Pattern("redis", RESPONSE, "'+OK' 0d 0a"),
    Pattern("redis", RESPONSE, "'+PONG' 0d 0a"),
    Pattern("redis", RESPONSE, "'-ERR '", TEXT),
    Pattern("redis", RESPONSE, "'-NOAUTH '", TEXT),
    # Memcached: retrieval, its answers (memcached doc/protocol.txt)
    Pattern("memcached", REQUEST, "'get ' 21-2e|30-7e", TEXT),
    Pattern("memcached", REQUEST, "'gets ' 21-7e", TEXT),
    Pattern("memcached", RESPONSE, "'VALUE ' 21-7e", TEXT),
    Pattern("memcached", RESPONSE, "'STORED' 0d 0a"),
    Pattern("memcached", RESPONSE, "'END' 0d 0a"),
    Pattern("memcached", RESPONSE, "'STAT ' 21-7e", TEXT),
    # PostgreSQL: startup; SSL, GSS and cancel requests; authentication and errors; yes to SSL, then TLS
    # (PostgreSQL documentation, Message Formats)
    Pattern("postgresql", REQUEST, "00 00 00-27 .. 00 03 00 00-02"),
    Pattern("postgresql", REQUEST, "00 00 00 08|10 04 d2 16 2e-30"),
    Pattern("postgresql", RESPONSE, "'R' 00 00 00-01 .. 00 00 00 00-0c"),
    Pattern("postgresql", RESPONSE, "'E' 00 00 .. .. 'S'"),
    Pattern("postgresql", RESPONSE, "'S' 16 03 00-04"),
    # AMQP: protocol header (AMQP 1.0 2.2, 0-9-1 4.2.2); Connection.Start (0-9-1 1.4.2.1)
    Pattern("amqp", EITHER, "'AMQP' 00-03 00-01 00-09 00-01"),
    Pattern("amqp", RESPONSE, "01 00 00 00 .. .. .. 00 0a 00 0a"),
    # MQTT: CONNECT, its remaining length of 1 to 3 bytes; CONNACK (MQTT 3.1.1 and 5.0, 3.1, 3.2)
    Pattern("mqtt", REQUEST, "10 00-7f 00 04 'MQTT' 03-05"),
    Pattern("mqtt", REQUEST, "10 80-ff 01-7f 00 04 'MQTT' 03-05"),
    Pattern("mqtt", REQUEST, "10 80-ff 80-ff 01-7f 00 04 'MQTT' 03-05"),
    Pattern("mqtt", REQUEST, "10 00-7f 00 06 'MQIsdp' 03"),
    Pattern("mqtt", RESPONSE, "20 02 00-01 00-05"),
    # RTSP, SIP, ICAP: HTTP's own grammar with another name (RFC 7826 3, RFC 3261 7, RFC 3507 4.3)
    Pattern("rtsp", EITHER, "41-5a 41-5a 41-5a", TEXT, " RTSP/1.0"),
    Pattern("rtsp", EITHER, "'RTSP/' 31-32 '.0 '", TEXT),
    Pattern("sip", EITHER, "41-5a 41-5a 41-5a", TEXT, " SIP/2.0"),
    Pattern("sip", EITHER, "'SIP/2.0 '", TEXT),
    Pattern("icap", REQUEST, "41-5a 41-5a 41-5a", TEXT, " ICAP/1.0"),
    Pattern("icap", RESPONSE, "'ICAP/1.0 '", TEXT),
    # FastCGI: BEGIN_REQUEST of 8 bytes with a role (FastCGI 1.0, 3.3, 5.1); AJP13: requests, containers' answers
    Pattern("fastcgi", REQUEST, "01 01 .. .. 00 08 .. 00 00 01-03 00-01 00 00 00 00 00"),
    Pattern("ajp", REQUEST, "12 34 00-1f .. 02|07-0a"),
    Pattern("ajp", RESPONSE, "'AB' 00-1f .. 03-06|09"),
    # SOCKS 5: greetings with the usual methods; the server's choice, then its reply (RFC 1928 3, 6)
    Pattern("socks", REQUEST, "05 01 00|02"),
    Pattern("socks", REQUEST, "05 02 00 01-02"),
    Pattern("socks", REQUEST, "05 03 00 01 02"),
    Pattern("socks", RESPONSE, "05 00 05 00-08 00 01|03|04"),
    # TDS: prelogin and its answer (MS-TDS 2.2.3.1)
    Pattern("mssql", REQUEST, "12 01 00-0f .. 00 00 00-01 00 00 00"),
    Pattern("mssql", RESPONSE, "04 01 00-0f .. 00 00 01 00 00 00"),
    # LDAP: bind, search, extended requests and their answers (RFC 4511 4)
    Pattern("ldap", EITHER, "30 00-7f 02 01 01-7f 60|61|63|64|65|77|78"),
    Pattern("ldap", EITHER, "30 84 00 00 .. .. 02 01 01-7f 60|61|63|64|65|77|78"),
    # RDP: connection request with a cookie or a negotiation, and its confirmation (MS-RDPBCGR 2.2.1.1, 2.2.1.2)
    Pattern("rdp", REQUEST, "03 00 00-01 .. .. e0 00 00 00 00 00 'Cookie: '"),
    Pattern("rdp", REQUEST, "03 00 00 13 0e e0 00 00 00 00 00 01 .. 08 00"),
    Pattern("rdp", RESPONSE, "03 00 00 13 0e d0 00 00 .. .. 00 02-03 .. 08 00"),
    # SMB over TCP: session length, then the magic of SMB1, 2 and 3 (MS-SMB2 2.1, 2.2.1)
    Pattern("smb", EITHER, "00 .. .. .. fd-ff 'SMB'"),
    # DNS over TCP: one question, nothing answered yet (RFC 1035 4.1.1, 4.2.2)
    Pattern("dns", REQUEST, "00 11-ff .. .. 01 00|10|20|30 00 01 00 00 00 00 00 00-01"),
    # RFB, the protocol of VNC: its version (RFC 6143 7.1.1)
    Pattern("vnc", EITHER, "'RFB 003.00' 30-39 0a"),
    # Those that fix late bytes come last, not to keep the others waiting.
    # MySQL: the server's greeting, version 10, or ERR; the client's handshake response with its filler of zeros
    # (MySQL client/server protocol: protocol::Handshake, ERR_Packet, HandshakeResponse41)
    Pattern("mysql", RESPONSE, ".. 00-01 00 00 0a 30-39"),
    Pattern("mysql", RESPONSE, ".. 00-01 00 00 ff .. 03-0f"),
    # MongoDB: length, two numbers, the operation: reply, query, compressed, message (MongoDB wire protocol)
    Pattern("mongodb", EITHER, ".. .. 00-02 00 .. .. .. .. .. .. .. .. d4|dc|dd 07 00 00"),
    Pattern("mongodb", RESPONSE, ".. .. 00-02 00 .. .. .. .. .. .. .. .. 01 00 00 00"),
    Pattern(
        "mysql",
        REQUEST,
        ".. 00-0f 00 01 .. .. .. .. .. .. .. .. .. 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    ),
)
