from ipaddress import IPv4Address, IPv6Address

class FlowTable:
    count: int

def message_id(
    client: str | IPv4Address | IPv6Address,
    client_port: int,
    server: str | IPv4Address | IPv6Address,
    server_port: int,
    ack: int,
    ordinal: int = 0,
) -> int: ...
