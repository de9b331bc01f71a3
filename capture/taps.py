"""The interfaces that one capture process has open: which are taken up, which are let go, what they dropped.

In: a `LivePlan`, orders that change it, and the interfaces that there are.  Out: taps to read.  Invariant: a tap is let
go only when what it saw has been read, and a wanted interface is never without one while another takes its place.
"""

import enum
import logging
import time
from dataclasses import dataclass, field, replace
from typing import Any, Final

from capture.counters import Counters
from capture.errors import MirrorError, SourceError
from capture.filters import Wanted
from capture.interfaces import ANY, Manner, Missed, Tap, check_names, chosen, present, up
from capture.orders import Orders
from capture.turns import Turns, ticket

HURRY_S: Final = 0.02  # between looks while something is under way
LONGEST_LOOK_S: Final = 0.02  # then frames are read again: to open or close one interface takes the kernel as long
SPREAD_S: Final = 0.25  # lanes that look in a hurry have all looked after this long
LEAST_BUFFER: Final = 2 << 20  # of an interface, however many share the buffer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LivePlan:
    """What to capture: patterns of interfaces, how these are read, what is wanted of their frames.

    `manner.buffer_bytes` is for all interfaces together, `turns` for lanes that share them.
    """

    interfaces: tuple[str, ...]
    manner: Manner
    wanted: Wanted
    turns: Turns = field(default_factory=Turns)
    orders: Orders = field(default_factory=Orders)


class State(enum.IntEnum):
    """How far a tap is; it goes from each state to the next, or from any to GONE."""

    JOINING = 0  # in its group, hushed: the other lanes are still to join
    OPEN = 1  # read
    LEAVING = 2  # not wanted any more, and what is wanted is open: what it may still be given is waited for
    HUSHED = 3  # given nothing more; the other lanes are still to come as far
    GONE = 4  # its interface is: what was captured before is still read


@dataclass
class Held:
    """One tap."""

    tap: Tap
    order: int  # which one it was opened for
    state: State
    until_s: float  # nothing changes before this
    group: int = 0  # that it shares with the other lanes
    drops: int = 0  # frames, as counted last
    alone: bool = False  # open here, and not joined in every lane, as of the last look

    @property
    def ticket(self) -> int:
        """Return what the other lanes know it by."""
        return ticket(self.order, self.tap.index)


class Taps:
    """All taps of one process, by descriptor."""

    def __init__(self, plan: LivePlan, counters: Counters) -> None:
        self.plan = plan
        self.counters = counters
        self.held: dict[int, Held] = {}
        self.refused: dict[str, MirrorError] = {}  # interfaces that cannot be opened, and why
        self.missed = Missed()
        self.said: dict[str, str] = {}  # what was said of them
        self.order = 1  # which one is in force
        self.pending = False  # something is under way: another look is due soon

    def open(self) -> None:
        """Open what there is; MirrorError if a name is wrong, or nothing of what is there can be opened."""
        for pattern in check_names(self.plan.interfaces):
            log.warning("%s: no interface matches yet", pattern)
        self._look()
        if self.refused and not self.held and not self.pending:
            raise next(iter(self.refused.values()))
        self._say_refusals()

    def close(self) -> None:
        """Give all interfaces back."""
        for fd in list(self.held):
            self._let_go(fd)

    def readable(self) -> dict[int, Tap]:
        """Return the taps to read, by descriptor."""
        return {fd: held.tap for fd, held in self.held.items() if held.state is not State.JOINING}

    def hush(self) -> None:
        """Have nothing more captured."""
        for held in self.held.values():
            held.tap.hush()

    def look(self) -> None:
        """See what was dropped or ordered, which interfaces have come or gone, and go on with what is under way."""
        self._look()
        self._say_refusals()

    def _look(self) -> None:
        self.count_drops()
        order = self.plan.orders.take()
        if order is not None:
            self._obey(order)
        names = present()
        wanted = chosen(self.plan.interfaces, names)
        for held in list(self.held.values()):
            if held.tap.name != ANY and names.get(held.tap.name) != held.tap.index:
                self.depart(held)
        until_s = time.monotonic() + LONGEST_LOOK_S
        replaced = self._replaced(wanted)
        for fd in list(self.held):
            if time.monotonic() < until_s:
                self._advance(fd, unwanted=replaced and self.held[fd].tap.name not in wanted)
        current = {held.tap.name for held in self.held.values() if held.state in {State.JOINING, State.OPEN}}
        waiting = [name for name in wanted if name not in current and not self._take_up(name, names, until_s)]
        self.refused = {name: why for name, why in self.refused.items() if name in wanted}
        self.pending = bool(waiting) or any(
            held.state is not State.OPEN or held.tap.name not in wanted for held in self.held.values()
        )
        self.counters.set("interfaces_now", len({held.tap.name for held in self.held.values()}))
        self._publish()
        if not self.pending:
            self.counters.set("order_now", self.plan.orders.seen)

    def depart(self, held: Held) -> None:
        """Say that an interface is gone, and keep its tap for as long as frames from before may come out of it."""
        if held.state is not State.GONE:
            if held.state is not State.HUSHED:
                log.warning("%s: is gone", held.tap.name)
            held.state, held.until_s = State.GONE, self._later_s()

    def count_drops(self) -> None:
        """Count what was dropped since the last time."""
        for held in self.held.values():
            self._count(held)
        if self.plan.turns.lane == 0:  # what an interface misses all lanes miss: one of them counts it
            more = self.missed.look(held.tap.name for held in self.held.values())
            self.counters.add("frames_dropped_interface", more)

    def _replaced(self, wanted: list[str]) -> bool:
        """Tell whether everything that is wanted is open, so that the rest can go."""
        opened = {held.tap.name for held in self.held.values() if held.state is State.OPEN}
        return all(name in opened or name in self.refused or not up(name) for name in wanted)

    def _advance(self, fd: int, unwanted: bool) -> None:
        """Take one tap a state further, if it is time."""
        held, now_s, turns = self.held[fd], time.monotonic(), self.plan.turns
        if held.state is State.OPEN and unwanted:
            held.state, held.until_s = State.LEAVING, self._later_s()
        joined = turns.may_listen(held.ticket)
        if held.state is State.JOINING and held.order != self.order and not joined:  # the newer one is for all lanes
            held.state, held.until_s = State.HUSHED, self._later_s()
        if held.state is State.OPEN:
            if held.alone and not joined:  # another lane gave it up while this one began to listen: both begin anew
                held.state, held.until_s = State.LEAVING, self._later_s()
            held.alone = not joined
        if now_s < held.until_s:
            return
        if held.state is State.JOINING and joined:
            self._listen(held)
        elif held.state is State.LEAVING:
            held.tap.hush()
            held.state, held.until_s = State.HUSHED, self._later_s()
        elif held.state is State.GONE or (held.state is State.HUSHED and turns.may_leave(held.ticket)):
            self._let_go(fd)

    def _listen(self, held: Held) -> None:
        """Begin to read a tap; one of several lanes was hushed until now."""
        if self.plan.turns.pages:
            try:
                held.tap.listen()
            except SourceError as error:  # it went down meanwhile; the next look tries again
                log.warning("%s", error)
                return
        held.state = State.OPEN
        self.counters.add("interfaces_opened")
        log.info("capturing on %s", held.tap.name)
        log.debug("%s: filter %s", held.tap.name, held.tap.filter)

    def _take_up(self, name: str, names: dict[str, int], until_s: float) -> bool:
        """Open one interface, or note why it cannot be; False if it soon is our turn, or there is no time now."""
        turns, index = self.plan.turns, names.get(name, 0)
        if turns.refused(ticket(self.order, index)):
            self.refused[name] = SourceError(f"{name}: cannot be opened for the first lane")
            return True
        if not turns.may_join(ticket(self.order, index)):
            return not up(name)  # the lane before opens none that is down
        if time.monotonic() >= until_s:
            return False
        manner, sharing = self.plan.manner, len(chosen(self.plan.interfaces, names))
        share = min(manner.buffer_bytes, max(LEAST_BUFFER, manner.buffer_bytes // sharing))
        try:
            if not up(name):
                raise SourceError(f"{name}: is down; `ip link set dev {name} up` brings it up")
            tap = Tap(name, index, replace(manner, buffer_bytes=share), self.plan.wanted)
            group = self._join(tap)
        except MirrorError as error:
            self.refused[name] = error
            return True
        self.refused.pop(name, None)
        held = self.held[tap.fileno()] = Held(tap, self.order, State.JOINING, self._later_s(), group)
        if not turns.pages:
            self._listen(held)
        return True

    def _join(self, tap: Tap) -> int:
        turns = self.plan.turns
        if not turns.pages:
            return 0
        try:
            return tap.join(turns.group(ticket(self.order, tap.index)))
        except BaseException:
            tap.close()
            raise

    def _say_refusals(self) -> None:
        """Warn of interfaces that cannot be opened, of each reason once."""
        for name, error in self.refused.items():
            if self.said.get(name) != str(error):
                log.warning("%s", error)
        self.said = {name: str(error) for name, error in self.refused.items()}

    def _let_go(self, fd: int) -> None:
        held = self.held.pop(fd)
        self._count(held)
        held.tap.close()

    def _publish(self) -> None:
        hushed = [held.ticket for held in self.held.values() if held.state is State.HUSHED]
        joined = {held.ticket: held.group for held in self.held.values() if held.state < State.HUSHED}
        names = present() if self.refused else {}
        refused = [ticket(self.order, names.get(name, 0)) for name in self.refused]
        self.plan.turns.publish(joined, hushed, refused)

    def _count(self, held: Held) -> None:
        try:
            now = held.tap.drops()
        except SourceError:
            return  # it is gone: what it had dropped since then is not known
        self.counters.add("frames_dropped_kernel", max(now - held.drops, 0))
        held.drops = now

    def _later_s(self) -> float:
        """Return when the kernel will have handed over what it has now, and the other lanes have looked, generously."""
        others_s = SPREAD_S if self.plan.turns.pages else HURRY_S
        return time.monotonic() + 4 * self.plan.manner.timeout_ms / 1000 + others_s

    def _obey(self, order: dict[str, Any]) -> None:
        """Capture something else from now on, without a frame missed.

        Interfaces are told apart by the number of the order that they were opened for, which is the same in all lanes:
        what has not been opened by all of them is opened for the newest order, as one may have missed those before.
        """
        changes = {name: _frozen(value) for name, value in order.items()}
        interfaces = changes.pop("interfaces", self.plan.interfaces)
        wanted = replace(self.plan.wanted, **changes)
        refilter = wanted != self.plan.wanted
        self.plan = replace(self.plan, interfaces=interfaces, wanted=wanted)
        self.order = 1 + self.plan.orders.seen
        if refilter:
            self._refilter()

    def _refilter(self) -> None:
        """Give every tap the filter of now.  libpcap makes one for each link type, at a tap that is opened for that."""
        models: dict[int, Tap | MirrorError] = {}
        small = replace(self.plan.manner, buffer_bytes=LEAST_BUFFER, promiscuous=False)
        for held in self.held.values():
            tap = held.tap
            if tap.link not in models:
                try:
                    models[tap.link] = Tap(tap.name, tap.index, small, self.plan.wanted)
                except MirrorError as error:
                    models[tap.link] = error
            model = models[tap.link]
            try:
                if isinstance(model, MirrorError):
                    raise model
                if held.state in {State.OPEN, State.LEAVING}:
                    tap.change(model)
                else:
                    tap.filter = model.filter  # for when it listens
                log.debug("%s: filter %s", tap.name, tap.filter)
            except MirrorError as error:
                log.warning("%s; it goes on with the filter of before", error)
        for model in models.values():
            if isinstance(model, Tap):
                model.close()


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
