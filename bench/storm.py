"""A login storm with a real gateway process: after a power cut every device of a town connects at once, while somebody presses SOS.

Three processes: the gateway, a generator that opens connections at a given pace and logs in with each (one core of Python; `logins_per_s`
says what came of it), and a probe whose devices send SOS on a fixed beat over connections that stand already. An SOS counts from its
write to its acknowledgement, which goes out after the commit; the beat does not wait for answers, so a stall shows in full.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import select
import socket
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

from bench.trackers import gateway, imei_of
from protocols.tracker import eelink, watch

DEVICES, PACE_PER_S = 5000, 5000.0
PROBES, BEAT_S = 20, 0.2
"""100 SOS a second, from 20 people."""
QUIET_S = 3.0
LONGEST_S = 60.0
"""Whatever happens, the storm is over by then."""
ANSWER_BYTES = 14


def measure() -> dict[str, Any]:
    """Latency of SOS before and in the storm (ms), and what became of the logins."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2 * DEVICES), hard), hard))
    names = [imei_of("eelink", index) for index in range(DEVICES)]
    people = [imei_of("watch", index) for index in range(PROBES)]
    with gateway([f"eelink:{name}" for name in names] + [f"watch:{name}" for name in people]) as (port, _):
        ours, theirs = multiprocessing.Pipe()
        probe = multiprocessing.Process(target=_probe, args=(port, people, theirs), daemon=True)
        probe.start()
        ours.recv()
        time.sleep(QUIET_S)
        begun = time.monotonic()
        waits, sockets = _storm(port, names)
        ended = time.monotonic()
        time.sleep(1.0)
        ours.send("stop")
        taken: list[tuple[float, float | None]] = ours.recv()
        probe.join(5)
        for each in sockets:
            each.close()
    quiet = [wait for sent, wait in taken if sent < begun]
    storm = [wait for sent, wait in taken if begun <= sent <= ended]
    return {
        "unit": "ms",
        "devices": DEVICES,
        "pace_per_s": PACE_PER_S,
        "logged_in": len(waits),
        "storm_s": round(ended - begun, 2),
        "logins_per_s": round(len(waits) / (ended - begun)),
        "login_ms": _shown(list(waits)),
        "sos_quiet_ms": _shown(quiet),
        "sos_storm_ms": _shown(storm),
        "load": os.getloadavg()[0],
    }


def _shown(waits: list[float | None]) -> dict[str, float]:
    """Percentiles in milliseconds; what was never answered is counted, and is the worst of all."""
    answered = sorted(wait * 1000 for wait in waits if wait is not None)
    if len(answered) < 2:
        return {"count": len(waits), "unanswered": len(waits) - len(answered)}
    cuts = statistics.quantiles(answered, n=100, method="inclusive")
    figures = {"p50": cuts[49], "p99": cuts[98], "max": answered[-1]}
    return {"count": len(waits), "unanswered": len(waits) - len(answered), **{key: round(value, 1) for key, value in figures.items()}}


def _storm(port: int, names: list[str]) -> tuple[list[float], list[socket.socket]]:
    """Connect and log in with every name at PACE_PER_S; seconds from connecting to the answer of each that got one, and the sockets."""
    poll, open_, waits = select.epoll(), dict[int, tuple[socket.socket, float, bytes]](), []
    begun = time.monotonic()
    kept, next_ = list[socket.socket](), 0
    while (next_ < len(names) or open_) and time.monotonic() - begun < LONGEST_S:
        due = min(len(names), int((time.monotonic() - begun) * PACE_PER_S) + 1)
        for name in names[next_ : min(due, next_ + 50)]:
            made = socket.socket()
            made.setblocking(False)
            kept.append(made)
            made.connect_ex(("127.0.0.1", port))
            open_[made.fileno()] = (made, time.monotonic(), eelink.write_login(name))
            poll.register(made, select.EPOLLOUT)
            next_ += 1
        for number, event in poll.poll(0.001 if next_ < len(names) else 0.1):
            made, since, login = open_[number]
            if event & (select.EPOLLERR | select.EPOLLHUP):
                poll.unregister(number)
                del open_[number]
            elif event & select.EPOLLOUT:
                made.send(login)
                poll.modify(number, select.EPOLLIN)
            elif made.recv(64):
                waits.append(time.monotonic() - since)
                poll.unregister(number)
                del open_[number]
    return waits, kept


def _probe(port: int, people: list[str], pipe: Connection) -> None:
    """Every person presses SOS on the beat until told to stop; (moment, seconds to the acknowledgement or None) of each."""
    lines = [socket.create_connection(("127.0.0.1", port), 10) for _ in people]
    for line in lines:
        line.setblocking(False)
    waiting: list[list[float]] = [[] for _ in people]
    taken: list[tuple[float, float | None]] = []
    rest = [b""] * len(people)
    begun, number = time.monotonic(), 0
    pipe.send("ready")
    while not pipe.poll():
        wait = begun + number * BEAT_S / len(people) - time.monotonic()
        if wait <= 0:
            who = number % len(people)
            clock = time.strftime("%d%m%y,%H%M%S", time.gmtime(1795300000 + number))
            body = f"AL,{clock},A,31.230416,N,121.473701,E,3.2,88,12,9,80,15,{number},0,00010000,0,0,0"
            waiting[who].append(time.monotonic())
            lines[who].send(watch.frame_content(body.encode(), maker="3G", id=people[who]))
            number += 1
            continue
        for line in select.select(lines, [], [], wait)[0]:
            who = lines.index(line)
            data = rest[who] + line.recv(65536)
            now = time.monotonic()
            for _ in range(data.count(b"*AL]")):
                since = waiting[who].pop(0)
                taken.append((since, now - since))
            rest[who] = data[data.rfind(b"]") + 1 :]
    taken += [(since, None) for lost in waiting for since in lost if since < time.monotonic() - 1.0]
    pipe.send(taken)
