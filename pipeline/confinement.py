"""What each process of a run may do, how much memory it may have, and on which cores it runs.

In: a checked `Config` and the stages made from it.  Out: the stages with their rights and cores (DESIGN 11, 12).
"""

import os
from collections.abc import Sequence
from dataclasses import replace

from capture.errors import ConfigError
from capture.privileges import Account, Capability, Rights, account
from pipeline.config import Config
from pipeline.inputs import LiveInput
from pipeline.lanes import cores_of, lanes
from pipeline.limits import most_data
from pipeline.wiring import WORKERS, Stage


def confine(config: Config, stages: Sequence[Stage]) -> list[Stage]:
    """Give each stage what it needs: the capture of live traffic the right to open interfaces, others none.

    Raises ConfigError if the user to run as does not exist, or cannot be changed to.
    """
    user = _user(config)
    pinned = isinstance(config.input, LiveInput) and config.input.pin
    count = lanes(config)
    placed: dict[int, int] = {}  # processes so far, by lane
    confined = []
    for stage in stages:
        lane = _lane(config, stage)
        cores = cores_of(lane, count) if pinned else ()
        at = placed[lane] = placed.get(lane, -1) + 1
        own = (cores[at % len(cores)],) if cores else ()
        rights = Rights(_needed(config, stage, user), user, most_data(config, stage))
        confined.append(replace(stage, rights=rights, cores=own))
    return confined


def _needed(config: Config, stage: Stage, user: Account | None) -> frozenset[Capability]:
    needed = set()
    if isinstance(config.input, LiveInput) and stage.kind == "capture":
        needed.add(Capability.NET_RAW)
    if os.geteuid() == 0 and user is None:
        needed.add(Capability.DAC_OVERRIDE)  # root without it may read and write less than its owner: files of users
    return frozenset(needed)


def _user(config: Config) -> Account | None:
    name = config.input.user if isinstance(config.input, LiveInput) else None
    if name is None:
        return None
    chosen = account(name)
    if os.geteuid() == 0:
        return chosen
    if chosen.uid == os.geteuid():
        return None
    raise ConfigError(f"input.user: {name!r} is not who runs this: only root can change to another user")


def _lane(config: Config, stage: Stage) -> int:
    return stage.number // config.workers.count if stage.kind in WORKERS else stage.number
