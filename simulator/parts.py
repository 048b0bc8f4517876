"""A virtual run in parts: residents who share nothing live in processes of their own, each with a gateway, and the scores are joined.

The result is that of one run, since no device, rule or person of one part sees another part. Communities with something in common
(a modem, a bridge, a neighbour who is told) are not parted; nor are runs with faults, which are rows of dice thrown in turn, nor runs
to which somebody listens.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from simulator.community import Community
from simulator.devices.device import Happening
from simulator.errors import TargetError
from simulator.virtual import REPLAY, Judged, VirtualRun, judge_virtual

SHARING = ("neighbours",)
"""Settings of rules by which one person's alarm concerns another's devices."""


def split(community: Community, parts: int) -> list[Community]:
    """At most `parts` communities without anything in common; the whole one where it cannot be parted. Flats stay together."""
    flats = {resident.id: resident.flat for resident in community.residents}
    owner = {member.device.id: member.subject for member in community.members}
    is_shared = any(
        member.subject not in flats or (member.through and owner.get(member.through) != member.subject) for member in community.members
    )
    if is_shared or parts < 2:
        return [community]
    number = {flat: place % parts for place, flat in enumerate(dict.fromkeys(flats.values()))}
    found = []
    for part in range(min(parts, len(number))):
        residents = tuple(resident for resident in community.residents if number[resident.flat] == part)
        those = {resident.id for resident in residents}
        members = tuple(member for member in community.members if member.subject in those)
        found.append(Community(community.seed, residents, members, _plan_of(community, {member.device.id for member in members})))
    return found


def run_in_parts(
    community: Community,
    *,
    seconds: float,
    start_ms: int,
    parts: int,
    replay: Sequence[str] = REPLAY,
    limits: Mapping[str, int] | None = None,
    rules: str = "",
) -> VirtualRun:
    """As `run_virtual`, in `parts` at once where that gives the same. Raises TargetError when a gateway fails."""
    given: dict[str, Any] = {"seconds": seconds, "start_ms": start_ms, "replay": replay, "limits": limits, "rules": rules}
    communities = [community] if any(word in rules for word in SHARING) else split(community, parts)

    def work(part: Community) -> Callable[[], Judged]:
        return lambda: judge_virtual(part, **given, faults=None, hear=None)

    first, *others = _at_once([work(part) for part in communities])
    for other in others:
        first.scorer.join(other.scorer)
    end_ms = start_ms + round(seconds * 1000)
    return Judged(first.scorer, sum(one.frames for one in (first, *others)), sum(one.events for one in (first, *others))).run(end_ms)


def _plan_of(community: Community, devices: set[str]) -> Callable[[Community], Iterator[Happening]]:
    return lambda _: (happening for happening in community.plan() if happening.device in devices)


def _at_once(works: list[Callable[[], Judged]]) -> list[Judged]:
    """Each in a child of its own. A process with threads must not fork: there it is one after the other, with the same result."""
    if len(works) == 1 or threading.active_count() > 1:
        return [work() for work in works]
    context = multiprocessing.get_context("fork")
    pipes, children = [], []
    try:
        for work in works:
            here, there = context.Pipe(duplex=False)
            child = context.Process(target=_tell, args=(there, work), daemon=True)
            child.start()
            there.close()
            pipes.append(here)
            children.append(child)
        return [_heard(pipe) for pipe in pipes]
    finally:
        for pipe in pipes:
            pipe.close()
        for child in children:
            child.terminate()
            child.join()


def _tell(pipe: Connection, work: Callable[[], Judged]) -> None:
    try:
        judged = work()
    except TargetError as error:
        pipe.send((str(error), error.hint))
    else:
        pipe.send(judged)


def _heard(pipe: Connection) -> Judged:
    try:
        answer = pipe.recv()
    except EOFError:
        raise TargetError("a part of the run has ended without a word", hint="run it in one part") from None
    if isinstance(answer, Judged):
        return answer
    raise TargetError(answer[0], hint=answer[1])
