"""Messages and flows as people and programs read them: aligned lines, or the JSON line of the jsonl output.

In: `Message` objects.  Out: text.  No file and no clock: times are those of the packets.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from assemble.message import Message
from pipeline.values import write_address, write_size

HEADINGS: Final = f"{'time (UTC)':<26} {'id':<16} {'from':<21} {'to':<21} {'head':>6} {'body':>9}  message"
FLOW_HEADINGS: Final = f"{'client':<21} {'server':<21} {'requests':>8} {'responses':>9} {'incomplete':>10} {'bytes':>9}"
MOST_FLOWS: Final = 100_000  # remembered by name; the rest are only counted
LONGEST_SHOWN: Final = 200
NS_PER_S: Final = 1_000_000_000


def when(ts_ns: int) -> str:
    """Write a packet time with microseconds."""
    return f"{datetime.fromtimestamp(ts_ns // NS_PER_S, UTC):%Y-%m-%d %H:%M:%S}.{ts_ns % NS_PER_S // 1000:06}"


def start_line(message: Message) -> str:
    """Write what a message is: method and target, or status; and what is missing from it."""
    text = shown(f"{message.method} {message.target}") if message.kind == "request" else str(message.status)
    if message.kind == "replayed":
        text = f"replayed: {message.status or 'no answer'}"
    if message.complete:
        return text
    return f"{text} [incomplete, {message.missing:,} bytes missing]" if message.missing else f"{text} [incomplete]"


def shown(text: str) -> str:
    """Make text from the traffic fit for a terminal: no control characters, no page-long target."""
    short = text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in short)


def message_line(message: Message) -> str:
    """Write one message as a line under `HEADINGS`."""
    source = write_address(str(message.src), message.sport)
    target = write_address(str(message.dst), message.dport)
    body = len(message.payload) - message.head
    return (
        f"{when(message.first_ns):<26} {message.id_hex} {source:<21} {target:<21} "
        f"{message.head:>6} {body:>9}  {start_line(message)}"
    )


def json_line(message: Message) -> str:
    """Write one message exactly as the jsonl output does (DESIGN 10)."""
    first, duration = message.first_ns, message.last_ns - message.first_ns
    fields: dict[str, Any] = {"id": message.id_hex, "kind": message.kind, "ts": "TS", "duration": "DURATION"}
    fields |= {
        "src": str(message.src),
        "sport": message.sport,
        "dst": str(message.dst),
        "dport": message.dport,
    }
    if message.kind == "request":
        fields |= {"method": message.method, "target": message.target}
    else:
        fields |= {"status": message.status}
    fields |= {"complete": message.complete, "missing": message.missing}
    fields |= {"payload": base64.b64encode(message.payload).decode()}
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    # Nine decimals are more than a float of today's seconds can hold: written as the integers they come from.
    text = text.replace('"TS"', _seconds(first), 1)
    return text.replace('"DURATION"', _seconds(duration), 1)


def _seconds(ns: int) -> str:
    sign = "-" if ns < 0 else ""
    return f"{sign}{abs(ns) // NS_PER_S}.{abs(ns) % NS_PER_S:09}"


@dataclass
class Flow:
    """What one connection carried."""

    requests: int = 0
    responses: int = 0
    incomplete: int = 0
    payload_bytes: int = 0


class Flows:
    """Sums up messages by connection."""

    def __init__(self) -> None:
        self.flows: dict[tuple[str, str], Flow] = {}
        self.unnamed = Flow()

    def add(self, message: Message) -> None:
        """Count one message for its connection; the client is who sends requests."""
        source = write_address(str(message.src), message.sport)
        target = write_address(str(message.dst), message.dport)
        key = (source, target) if message.kind == "request" else (target, source)
        flow = self.flows.get(key)
        if flow is None:
            flow = self.flows.setdefault(key, Flow()) if len(self.flows) < MOST_FLOWS else self.unnamed
        flow.requests += message.kind == "request"
        flow.responses += message.kind != "request"
        flow.incomplete += not message.complete
        flow.payload_bytes += len(message.payload)

    def lines(self, most: int) -> Iterator[str]:
        """Yield the connections with the most messages, as aligned lines."""
        busiest = sorted(self.flows.items(), key=lambda item: -(item[1].requests + item[1].responses))
        yield FLOW_HEADINGS
        for (client, server), flow in busiest[:most]:
            counts = f"{flow.requests:>8} {flow.responses:>9} {flow.incomplete:>10}"
            yield f"{client:<21} {server:<21} {counts} {write_size(flow.payload_bytes):>9}"
        if len(busiest) > most or self.unnamed.requests or self.unnamed.responses:
            yield f"and {len(busiest) - most:,} more with fewer messages"
