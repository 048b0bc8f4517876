"""The metrics of a gateway, and the small HTTP server on loopback that shows them to Prometheus (setting `gateway.metrics_port`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from drivers.vocabulary import Lane
from gateway.metrics import Family, render

if TYPE_CHECKING:
    from gateway.app import Gateway

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_S = 5.0


def page(gateway: Gateway) -> str:
    """Everything as Prometheus text. No label names a device or a person: series stay few and say nothing of anybody."""
    store, counts, keeper = gateway.store, gateway.pipeline.counts, gateway.keeper
    uplinks = gateway.upstream.uplinks
    now = gateway.clock.now()
    frames = {name: getattr(counts, name) for name in ("understood", "rejected", "unknown", "dropped")}
    families = [
        Family("anhu_frames_total", "counter", "frames by what became of them", [({"end": k}, v) for k, v in frames.items()]),
        Family("anhu_frames_refused_total", "counter", "rejects by reason", [({"reason": k}, v) for k, v in counts.refused.items()]),
        Family("anhu_events_total", "counter", "events stored", [({"lane": k}, v) for k, v in counts.events.items()]),
        Family("anhu_events_repeated_total", "counter", "events that were known already", [({}, counts.repeated)]),
        Family("anhu_store_commits_total", "counter", "commits", [({}, store.commits)]),
        Family("anhu_store_commit_seconds", "histogram", "time of a commit, fsync included", [({}, store.commit_times)]),
        Family("anhu_store_bytes", "gauge", "bytes of the database in use", [({}, store.used_bytes())]),
        Family("anhu_store_commit_under_way_seconds", "gauge", "age of the commit that runs", [({}, store.commit_under_way_s)]),
        Family("anhu_store_waiting_rows", "gauge", "rows that wait for the disk", [({}, store.waiting_rows)]),
        Family("anhu_store_failing", "gauge", "1 while commits fail", [({}, int(store.failing is not None))]),
        Family(
            "anhu_store_shed_total",
            "counter",
            "undelivered events that a cap took",
            [({"lane": k.value}, v) for k, v in keeper.shed.items()],
        ),
        Family(
            "anhu_store_trimmed_total",
            "counter",
            "events that left the history",
            [({"lane": k.value}, v) for k, v in keeper.trimmed.items()],
        ),
        Family(
            "anhu_uplink_up", "gauge", "1 while the platform can be reached", [({"uplink": u.pump.name}, int(u.connected)) for u in uplinks]
        ),
        Family(
            "anhu_outbox_depth",
            "gauge",
            "events that a platform does not have yet",
            [({"uplink": u.pump.name, "lane": lane}, depth) for u in uplinks for lane, depth in u.pump.waiting().items()],
        ),
        Family("anhu_outbox_oldest_seconds", "gauge", "age of the oldest undelivered event", _oldest(gateway, now.ms)),
        Family(
            "anhu_delivery_seconds",
            "histogram",
            "from reception to the platform's acknowledgement, fresh events",
            [({"uplink": u.pump.name, "lane": lane.value}, h) for u in uplinks for lane, h in u.pump.latency.items()],
        ),
        Family(
            "anhu_uplink_events_total",
            "counter",
            "events by what became of them at an uplink",
            [
                ({"uplink": u.pump.name, "end": end}, getattr(u.pump, end))
                for u in uplinks
                for end in ("sent", "delivered", "repeated", "skipped", "dead", "acks_refused")
            ],
        ),
        Family(
            "anhu_alarms_undelivered_total",
            "counter",
            "alarms that no acknowledgement came for in time",
            [({"uplink": name}, watch.undelivered) for name, watch in gateway.upstream.watches.items()],
        ),
        Family(
            "anhu_part_failures_total", "counter", "restarts of a part", [({"part": k}, v) for k, v in gateway.supervisor.failures.items()]
        ),
        Family("anhu_clock_set", "gauge", "0 while the wall clock was never set", [({}, int(now.ms >= gateway.pipeline.unset_before_ms))]),
        Family("anhu_uptime_seconds", "gauge", "time since the start", [({}, now.s - gateway.started_s)]),
    ]
    return render(families)


def _oldest(gateway: Gateway, now_ms: int) -> list[tuple[dict[str, str], float]]:
    found: list[tuple[dict[str, str], float]] = []
    for lane in Lane:
        spans = gateway.store.undelivered(lane)
        age = 0.0
        if spans:
            sql = f"SELECT received_ms FROM {lane.value} WHERE seq >= ? ORDER BY seq LIMIT 1"  # noqa: S608 - lane is an enum
            rows = gateway.store.query(sql, (spans[0][0],))
            age = max(0.0, (now_ms - int(rows[0][0])) / 1000) if rows else 0.0  # type: ignore[call-overload]  # INTEGER column
        found.append(({"lane": lane.value}, age))
    return found


class MetricsServer:
    """Answers GET /metrics on 127.0.0.1."""

    def __init__(self, port: int, make: Callable[[], str]) -> None:
        self.port = port
        self._make = make

    async def run(self) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=16 * 1024)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_S)
            method, _, rest = head.partition(b" ")
            is_ours = method == b"GET" and rest.split(b" ")[0] == b"/metrics"
            body = self._make().encode() if is_ours else b"try /metrics\n"
            status = "200 OK" if is_ours else "404 Not Found"
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            )
            writer.write(body)
            await writer.drain()
        writer.close()
