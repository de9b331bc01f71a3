"""Flows to message records: who is the client, which response answers which request, and their ids.

In: frames (time, bytes) of one link type, or a classic pcap file.  Out: messages, flow by flow.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import groupby, pairwise, takewhile
from pathlib import Path
from re import Pattern

from packets_files import read_pcap

from assemble.message import Message
from reference.clock import Clock
from reference.decode import Segment, decode
from reference.errors import Refused
from reference.flows import End, Flow, Stream, distance, group
from reference.fragments import Joiner
from reference.framer import (
    REQUEST_LINE,
    REQUEST_START,
    STATUS_LINE,
    STATUS_START,
    Framed,
    Framer,
    first_start,
    opening,
)

HELD_NS = 30_000_000_000  # how long fragments wait for the others

Identity = Callable[[bytes, int, bytes, int, int, int], int]


def plain_identity(client: bytes, cport: int, server: bytes, sport: int, ack: int, ordinal: int) -> int:
    """Hash what an id is made of, in a way of our own: equal where the compiled one must be equal."""
    packed = struct.pack("!16sH16sHIQ", client, cport, server, sport, ack, ordinal)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "big")


def assemble(
    frames: Iterable[tuple[int, bytes]],
    *,
    link: int = 1,
    ports: Iterable[int] = (),
    identity: Identity = plain_identity,
) -> list[Message]:
    """Give all messages of a capture, the flows in the order in which they began."""
    watched = set(ports)
    segments = []
    joiner, clock, now_ns = Joiner(HELD_NS), Clock(), 0
    for index, (ts_ns, frame) in enumerate(frames):
        now_ns = max(now_ns, clock.take(ts_ns))
        try:
            segment = decode(index, ts_ns, link, frame, joiner, now_ns)
        except Refused:
            continue
        if not watched or watched & {segment.sport, segment.dport}:
            segments.append(segment)
    return [message for flow in group(segments) for message in Conversation(flow, identity).messages()]


def read_messages(path: Path, *, ports: Iterable[int] = (), identity: Identity = plain_identity) -> list[Message]:
    """Give all messages of a classic pcap file."""
    link, frames = read_pcap(path)
    return assemble(frames, link=link, ports=ports, identity=identity)


def find_client(flow: Flow, streams: dict[End, Stream]) -> End | None:
    """Tell which end is the client: by the first message of a half that is whole, by SYN, by any message start."""
    for end, stream in streams.items():
        if stream.synced and (is_request := begins(stream)) is not None:
            return end if is_request else other(flow, end)
    if opener := opener_of(flow):
        return opener
    starts: list[tuple[int, End]] = []
    for end, stream in streams.items():
        found = [
            (at, is_request)
            for likely, is_request in ((REQUEST_START, True), (STATUS_START, False))
            for at in [first_match(likely, stream)]
            if at is not None
        ]
        if found:
            at, is_request = min(found)
            carrier = stream.carrier[at]
            assert carrier is not None
            starts.append((carrier.index, end if is_request else other(flow, end)))
    return min(starts)[1] if starts else None


def opener_of(flow: Flow) -> End | None:
    """Tell which end opened the connection by the SYNs seen, unless both did (RFC 9293 3.5): each sent both kinds."""
    kinds = {end: {segment.has_ack for _, segment in half.placed if segment.syn} for end, half in flow.halves.items()}
    if len(kinds) == 2 and len({frozenset(several) for several in kinds.values()}) == 1:
        return None
    if any(len(several) == 2 for several in kinds.values()):
        return None
    end = next(end for end, several in kinds.items() if several)
    return other(flow, end) if True in kinds[end] else end


def begins(stream: Stream) -> bool | None:
    """Tell whether a stream's first bytes are a request line (true), a status line (false), or neither."""
    at = opening(stream)
    stop = stream.run_end(at)
    if STATUS_LINE.match(stream.data, at, stop):
        return False
    return True if REQUEST_LINE.match(stream.data, at, stop) else None


def first_match(likely: Pattern[bytes], stream: Stream) -> int | None:
    """Give where a message start is first found in a stream, holes excepted."""
    found = (first_start(stream, start, stop, likely) for start, stop in stream.runs())
    return next((at for at in found if at is not None), None)


def other(flow: Flow, end: End) -> End:
    """Give the opposite end of a flow."""
    first, second = flow.halves if len(flow.halves) == 2 else (end, end)
    return second if end == first else first


@dataclass(eq=False)
class Request:
    """A request that waits for its response: the segment that carried its first byte, and whether some were lost."""

    framed: Framed
    carrier: Segment
    ident: int
    jumped: bool


class Conversation:
    """One flow, read as requests one way and responses the other."""

    def __init__(self, flow: Flow, identity: Identity) -> None:
        self.streams = {e: Stream(half, flow.halves[other(flow, e)]) for e, half in flow.halves.items()}
        self.identity = identity
        self.client = find_client(flow, self.streams)
        self.server = other(flow, self.client) if self.client else None
        self.number: int | None = None  # acknowledgement number of the requests now, 0 if they came without one
        self.told = False  # ... they came with one
        self.ordinal = 0  # how many came before with this number
        self.queue: list[Request] = []  # those not answered yet

    def messages(self) -> list[Message]:
        """Give the requests, then the responses, with ids."""
        if self.client is None or self.server is None:
            return []
        requests = []
        for framed in Framer(self.streams[self.client], None).messages():
            carrier = self.streams[self.client].carrier[framed.start]
            assert carrier is not None
            ident = self._request_ident(carrier)
            self.queue.append(Request(framed, carrier, ident, framed.jumped))
            requests.append((framed, ident))
        responses, tunnel_at = self._responses()
        if tunnel_at is not None:
            requests = [(framed, ident) for framed, ident in requests if framed.start < tunnel_at]
        return [self._record(self.client, *r) for r in requests] + [self._record(self.server, *r) for r in responses]

    def _ident(self, number: int, ordinal: int = 0) -> int:
        assert self.client is not None
        assert self.server is not None
        return self.identity(*self.client, *self.server, number, ordinal)

    def _request_ident(self, carrier: Segment) -> int:
        """Give the next request its id; an older number than before came on bytes that were captured late."""
        number = carrier.ack if carrier.has_ack else 0
        if self.number is None:
            newer = True
        elif self.told:
            newer = carrier.has_ack and distance(self.number, number) > 0
        else:
            newer = carrier.has_ack and number != self.number
        if newer:
            self.number, self.told, self.ordinal = number, carrier.has_ack, 0
        else:
            self.ordinal += 1
        assert self.number is not None
        return self._ident(self.number, self.ordinal)

    def _answered(self, at: int, jumped: bool) -> Request | None:
        """Give the request that the response at this offset answers: the oldest one, if nothing was lost.

        Where messages of either half may be lost, it is the one that acknowledged all bytes up to here, or the only
        one that can have been meant; the older ones stay without a response.
        """
        assert self.server is not None
        seq = self.streams[self.server].seq(at)
        if self.queue and not jumped and not self.queue[0].jumped:
            return self.queue[0] if self._seen(self.queue[0], at) else None
        candidates = list(takewhile(lambda request: self._may_answer(request, at), self.queue))
        if not candidates:
            return self._lose_step(at)
        first = at == 0 and self.streams[self.server].synced
        exact = [r for r in candidates if (r.carrier.ack == seq if r.carrier.has_ack else first)]
        found = exact[0] if exact else candidates[-1]
        shared = [b for a, b in pairwise(candidates) if a.carrier.ack == b.carrier.ack]
        if exact:  # more with its number: the client does not wait, and it may be where an older one's response starts
            if len(exact) > 1 and (found is not candidates[0] or found.jumped):
                return self._lose_step(at)
        else:
            more = self._received(at) > found.framed.end + 1  # one more may be a FIN
            if found.jumped or shared or more or self._cut(found):
                return self._lose_step(at)
        found.jumped = False
        del self.queue[: self.queue.index(found)]
        return found

    def _lose_step(self, at: int) -> None:
        """Note that the response behind one that nobody can be told for is out of step, too."""
        if self.queue and self._seen(self.queue[0], at):
            self.queue[0].jumped = True

    def _cut(self, request: Request) -> bool:
        """Tell whether a request's head was cut."""
        return request.framed.lost and request.framed.head_end == request.framed.end

    def _received(self, at: int) -> int:
        """Give how much of the requests the server had received when it sent the byte at this offset."""
        assert self.client is not None
        assert self.server is not None
        response = self.streams[self.server].carrier[at]
        assert response is not None
        return distance(self.streams[self.client].seq(0), response.ack)

    def _may_answer(self, request: Request, at: int) -> bool:
        """Tell whether a request was sent before the response at this offset, and it after some of the request."""
        assert self.server is not None
        if request.carrier.has_ack and distance(self.streams[self.server].seq(at), request.carrier.ack) > 0:
            return False
        return self._seen(request, at)

    def _seen(self, request: Request, at: int) -> bool:
        """Tell whether the server had seen some of a request when it sent the byte at this offset.

        Of one that was searched for, its whole start line: letters that came before it may be taken for its method.
        """
        received = self._received(at)
        known = request.framed.line_end - 1 if request.framed.jumped else request.framed.start
        return received < 0 or received > known  # below the SYN it is made up

    def _responses(self) -> tuple[list[tuple[Framed, int]], int | None]:
        """Frame the server's half; also give from where on the client's half is a tunnel, if it is."""
        assert self.server is not None
        stream = self.streams[self.server]

        def answers(at: int, _status: int) -> bytes | None:
            request = self._answered(at, framer.jumped)
            return request.framed.method if request else None

        framer = Framer(stream, answers)
        out: list[tuple[Framed, int]] = []
        tunnel_at = None
        for framed in framer.messages():
            request = self._answered(framed.start, framer.jumped)
            ident = request.ident if request else self._ident(stream.seq(framed.start))
            out.append((framed, ident))
            status, method = framed.status or 0, request.framed.method if request else None
            if request and (status // 100 != 1 or status == 101):
                self.queue.pop(0)
            if status == 101 or (method == b"CONNECT" and status // 100 == 2):
                framer.tunnel = True
                ended = request is not None and not request.framed.lost  # else where it did is not known
                tunnel_at = request.framed.end if request and ended else self._received(framed.start)
        return out, tunnel_at

    def _record(self, sender: End, framed: Framed, ident: int) -> Message:
        assert self.client is not None
        assert self.server is not None
        receiver = self.server if sender == self.client else self.client
        stream = self.streams[sender]
        carriers = [c for c, _ in groupby(stream.carrier[framed.start : framed.end]) if c is not None]
        return Message(
            id=ident,
            kind="request" if framed.status is None else "response",
            src=address(sender[0]),
            sport=sender[1],
            dst=address(receiver[0]),
            dport=receiver[1],
            first_ns=min(c.ts_ns for c in carriers),
            last_ns=max(c.ts_ns for c in carriers),
            method=framed.method.decode("latin-1") if framed.method else None,
            target=framed.target.decode("latin-1") if framed.target else None,
            status=framed.status,
            head=framed.head_end - framed.start,
            complete=framed.complete,
            missing=framed.missing,
            payload=stream.present(framed.start, framed.end),
        )


def address(packed: bytes) -> IPv4Address | IPv6Address:
    """Read the 16 bytes of an address, IPv4 mapped into IPv6."""
    full = IPv6Address(packed)
    return full.ipv4_mapped or full
