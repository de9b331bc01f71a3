"""The tcp output: messages to a Forward receiver in acknowledged chunks (WIRE.md, "Sender").

In: records of a message ring.  Out: PackedForward frames; a message is delivered when its chunk is acknowledged.
Invariant: the ring is released up to the oldest chunk that is not, and a chunk is repeated under its id until it
is.
"""

import logging
import random
from typing import Final

from capture.counters import Counters
from capture.errors import MalformedTraffic, MirrorError, reason
from capture.ring import Consumer
from emit.handshake import Greeting, Refused
from emit.kept import NONE_UNDER_WAY
from emit.link import Link, Stage, own_name
from emit.records import OutputSpec
from emit.sealing import TAGS
from emit.spooling import QUIET_S, SpoolingOutput
from emit.window import Chunk
from emit.wire import AckReader

log = logging.getLogger(__name__)

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MOST_S: Final = 2.0
REFUSED_FAILURES: Final = 5
"""As many connections in vain does one count that was refused by name or key: that will not be otherwise so soon."""
HEALTHY_S: Final = 1.0
"""A connection that lives that long, or brings an acknowledgement, was not in vain."""
GATHER_S: Final = 0.002
"""How long messages are gathered into a chunk while none is on its way; `flush_s` holds while there is one.

So a quiet connection delivers at once, and a busy one, or a slow receiver, gets full chunks.
"""
MOST_TRIES: Final = 5
"""So often is a chunk sent in vain on connections on which others are acknowledged."""
LAST_S: Final = 2.0
"""At the end of a run with a spool: so long without an acknowledgement, and the rest stays on disk."""


class TcpOutput(SpoolingOutput):
    """Sends chunks over one connection at a time, with a window of unacknowledged ones."""

    def __init__(self, spec: OutputSpec, consumer: Consumer, counters: Counters) -> None:
        super().__init__(spec, consumer, counters)
        assert spec.address is not None
        try:
            self.link = Link(spec.address, spec.tls)
        except OSError as error:
            raise MirrorError(f"{spec.name}: the files for TLS: {(error.strerror or str(error)).lower()}") from error
        self.greeting: Greeting | None = None  # until the receiver has let us in
        self.heard = False  # whether something was acknowledged on this connection
        self.sending: Chunk | None = None
        self.acks = AckReader()
        self.retry_at_s = 0.0
        self.failures = 0  # connections in vain, in a row
        self.trouble = "no connection"  # why the latest one ended
        self.trouble_s: float | None = None  # since when there is work and no working connection
        self.silent_s: float | None = None  # since when chunks wait and none has been acknowledged
        self.away = False  # given up for a while: what comes is not delivered until there is a connection again
        self.head = self.cursor

    # -- what the worker asks

    def open(self) -> None:
        self.resumed = self.adopt()
        self.head, self.acked_s = self.cursor, self.now_s
        if self.unusable is not None:
            self.give_up(self.unusable)
            return
        self.link.connect(self.now_s)
        self.check_link()

    @property
    def hungry(self) -> bool:
        return self.room or self.spec.policy == "drop"

    def done(self, head: int) -> bool:
        return super().done(head) and (not self.working or (self.leaving and self.spooling))

    @property
    def leaving(self) -> bool:
        """Whether the rest is for the next run: it is on disk, or can be, and nobody takes it."""
        if self.spool is None or not self.final or self.cursor < self.head or self.opened_chunks or self.late:
            return False
        gone = self.failures > 1 and self.link.stage is not Stage.OPEN
        return gone or self.now_s >= self.acked_s + LAST_S

    def descriptors(self) -> dict[int, int]:
        if self.link.stage is Stage.DOWN:
            return {}
        return {self.link.fileno(): self.link.events(more=self.window.sendable)}

    def deadline(self) -> float | None:
        if self.failure is not None:
            return None
        times = [begun_s + self.gather_s for begun_s in self.begun_s.values() if self.room]
        if self.spoolable and not self.spooling and self.full(self.head):
            times.append(self.acked_s + QUIET_S)
        if self.spool is not None and self.final:
            times.append(self.acked_s + LAST_S)
        if self.link.stage is Stage.DOWN:
            times.append(self.retry_at_s)
        elif self.link.stage is not Stage.OPEN or self.greeting is not None:
            times.append(self.link.since_s + self.spec.connect_timeout_s)
        else:
            if self.link.frame is not None:
                times.append(self.link.wrote_s + self.spec.write_timeout_s)
            if self.failures:
                times.append(self.link.since_s + HEALTHY_S)
            waiting_s = self.window.waiting_since()
            if waiting_s is not None:
                times.append(max(waiting_s, self.link.since_s) + self.spec.ack_timeout_s)
        return min(times, default=None)

    @property
    def gather_s(self) -> float:
        """How long an open chunk may wait for more."""
        return self.spec.flush_s if self.window.chunks else min(GATHER_S, self.spec.flush_s)

    def attend(self) -> None:
        if self.link.stage is Stage.CONNECTING:
            if self.link.answered(self.now_s):
                self.opened()
        elif self.link.stage is Stage.SHAKING:
            if self.link.shaken(self.now_s):
                self.opened()
        elif self.link.stage is Stage.OPEN and self.greeting is not None:
            self.greet(self.greeting)
        elif self.link.stage is Stage.OPEN:
            self.read_acks()
        self.check_link()

    def take(self, head: int) -> None:
        self.head = head
        if not self.window.chunks:
            self.acked_s = self.now_s
        if self.away:
            self.pass_over(head)
            return
        self.relieve()
        self.make_room(head)
        self.flush()
        if self.leaving and not self.spooling:
            self.spill()
        try:
            self.refill()
        except OSError as error:
            self.give_up(f"what is in its spool cannot be read: {reason(error)}")
            return
        self.push()
        self.check_timers()

    def make_room(self, head: int) -> None:
        """Take what there is room for; on disk, if the receiver is behind."""
        self.fill(head)
        if self.behind(head, connected=self.link.stage is Stage.OPEN):
            self.spill()
            self.fill(head)

    def keep_up(self, head: int) -> None:
        if self.spool is not None:  # which is what it is for
            self.make_room(head)
        super().keep_up(head)

    def close(self) -> None:
        self.link.close()
        super().close()

    def flush(self) -> None:
        """Seal chunks that have waited long enough, or for which nothing more will come."""
        for kind in TAGS:
            if self.chunker.records(kind):
                self.begun_s.setdefault(kind, self.now_s)
        ended = self.final and self.cursor >= self.head
        due = any(self.now_s >= begun_s + self.gather_s for begun_s in self.begun_s.values())
        if self.room and (ended or due):
            self.seal_open()

    def push(self) -> None:
        """Send as much as the receiver takes."""
        while self.link.stage is Stage.OPEN and (self.greeting is None or self.link.frame is not None):
            if self.link.frame is None:
                self.sending = self.window.next()
                if self.sending is None:
                    return
                try:
                    frame = self.fetch(self.sending)
                except OSError as error:
                    self.give_up(f"what is in its spool cannot be read: {reason(error)}")
                    return
                if frame is None:
                    continue
                self.link.begin(frame)
                if self.silent_s is None:
                    self.silent_s = self.now_s
            if not self.link.push(self.now_s):
                break
            if self.sending is not None:  # or it was of the handshake
                self.window.was_sent(self.sending, self.now_s)
                self.sending.frame = None  # there is the one that is kept
        self.check_link()

    def read_acks(self) -> None:
        """Take what the receiver has sent: acknowledgements, or the end of the connection."""
        data = self.link.pull()
        if not data:
            return
        try:
            names = self.acks.feed(data)
        except MalformedTraffic as error:
            self.link.lose(str(error))
            return
        if delivered := [chunk for name in names for chunk in self.window.acknowledge(name)]:
            self.deliver(delivered)
            self.heard = True
        if names:
            self.failures = 0
            self.trouble_s = self.silent_s = None

    # -- the connection

    def opened(self) -> None:
        """Begin on a new connection, with the handshake if there is a key."""
        self.sending = None
        if self.spec.login is None:
            self.let_in()
        else:
            self.greeting = Greeting(self.spec.login, own_name())

    def greet(self, greeting: Greeting) -> None:
        """Take what the receiver says of the handshake."""
        data = self.link.pull()
        if not data:
            return
        try:
            answer = greeting.feed(data)
        except (MalformedTraffic, Refused) as error:
            self.link.refused = True
            self.link.lose(str(error))
            return
        if answer:
            self.link.begin(answer)
        if greeting.through:
            self.greeting = None
            self.link.since_s = self.now_s
            self.let_in()

    def let_in(self) -> None:
        """Begin to send: whatever is not acknowledged is sent again."""
        self.acks = AckReader()
        if self.away:
            self.away = False
            log.warning(
                "%s: is there again; %d messages were not delivered", self.spec.name, self.known()["undelivered"]
            )
        resent = self.window.rewind()
        if resent:
            self.count("resent", resent)
        if self.link.opened > 1:
            self.count("reconnects")
            log.info("%s: connected again, %d chunks to repeat", self.spec.name, resent)

    def check_link(self) -> None:
        """If the connection is lost, say when to try again."""
        if self.link.lost is None:
            return
        self.trouble, self.link.lost = self.link.lost, None
        if self.greeting is not None and not self.link.refused:  # a close there is a refusal, too
            self.trouble = f"{self.trouble}, in the handshake"
        if self.greeting is None:
            self.blame()
        if self.failures == 0:
            log.warning("%s: %s", self.spec.name, self.trouble)
        if self.greeting is not None or self.link.refused:
            self.failures = max(self.failures, REFUSED_FAILURES)
            self.greeting = None
        backoff_s = min(BACKOFF_FIRST_S * 2**self.failures, BACKOFF_MOST_S)
        self.retry_at_s = self.now_s + backoff_s * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
        self.failures = min(self.failures + 1, 16)

    def blame(self) -> None:
        """Find the chunk that the connection has ended on; one that is always the one, where others are taken, goes."""
        chunks = self.window.suspect()
        if chunks and self.heard:
            chunks[0].tries += 1
            if chunks[0].tries >= MOST_TRIES:
                self.bury(chunks)
        self.heard = False

    def check_timers(self) -> None:
        """End what has taken too long, try again what is due, and give up when it is time."""
        link = self.link
        late = link.stage is not Stage.DOWN and self.now_s >= link.since_s + self.spec.connect_timeout_s
        if link.stage is Stage.OPEN and self.greeting is not None:
            if late:
                link.lose(
                    f"the receiver has not said {self.greeting.awaited}; {self.spec.connect_timeout_s:g} s passed"
                )
        elif link.stage is Stage.OPEN:
            waiting_s = self.window.waiting_since()
            if self.failures and self.now_s >= link.since_s + HEALTHY_S:
                self.failures = 0
                self.trouble_s = None
            if link.frame is not None and self.now_s >= link.wrote_s + self.spec.write_timeout_s:
                link.lose(f"the receiver took nothing for {self.spec.write_timeout_s:g} s")
            elif waiting_s is not None and self.now_s >= max(waiting_s, link.since_s) + self.spec.ack_timeout_s:
                link.lose(f"no acknowledgement for {self.spec.ack_timeout_s:g} s")
        elif late:
            tls = " with TLS" if link.stage is Stage.SHAKING else ""
            link.lose(f"no connection{tls} within {self.spec.connect_timeout_s:g} s")
        elif link.stage is Stage.DOWN and self.now_s >= self.retry_at_s:
            link.connect(self.now_s)
        self.check_link()
        self.consider_giving_up()

    def consider_giving_up(self) -> None:
        """Give up if there has been something to send and nobody to take it for too long."""
        if not self.working and self.cursor >= self.head:
            self.trouble_s = self.silent_s = None
            return
        if not self.window.chunks:
            self.silent_s = None
        if self.spool is not None and self.now_s >= self.rests_until_s and (self.spool.room or not self.final):
            return
        if self.link.stage is not Stage.OPEN:
            if self.trouble_s is None:
                self.trouble_s = self.now_s
            elif self.now_s >= self.trouble_s + self.spec.retry_s:
                self.rest(f"{self.trouble}, tried for {self.spec.retry_s:g} s")
                return
        patience_s = self.spec.attempts * self.spec.ack_timeout_s
        if self.silent_s is not None and self.now_s >= self.silent_s + patience_s:
            self.rest(f"the receiver has acknowledged nothing for {patience_s:g} s")

    def rest(self, why: str) -> None:
        """Count as undelivered what is not acknowledged, and what comes until there is a connection again."""
        then = "the rest" if self.final else "until it is there again, all that comes"
        log.error("%s: %s; %s is counted as not delivered", self.spec.name, why, then)
        self.interrupt(why)
        self.away = True
        self.trouble_s = self.silent_s = None
        self.drop_all()
        self.read_again()

    def pass_over(self, head: int) -> None:
        """Count what comes as undelivered while the receiver is away, and look for it."""
        before = self.cursor
        self.tally.undelivered += self.skip(head, head)
        if self.cursor != before:
            self.commit()
        self.push()  # of a handshake
        self.check_timers()

    def give_up(self, why: str) -> None:
        """Count what is not acknowledged as undelivered, and take no further part."""
        self.drop_all()
        self.fail(why)

    def drop_all(self) -> None:
        """Count what is taken and not acknowledged as undelivered, and end the connection."""
        gone = self.held()  # what is on disk stays there
        self.tally.undelivered += sum(chunk.messages for chunk in gone)
        self.window.clear()
        self.late.clear()
        for kind in TAGS:
            self.tally.undelivered += self.chunker.messages(kind)
            self.chunker.clear(kind)
        self.begun_s.clear()
        self.chunker.joint = NONE_UNDER_WAY  # what is left of it would have no beginning
        self.forget(gone)
        self.link.close()
