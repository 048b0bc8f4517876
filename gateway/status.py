"""What `anhu status` shows: one snapshot of a running gateway as plain data."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

from drivers.vocabulary import Lane
from gateway import __version__
from gateway.uplinks.mqtt import MqttUplink
from gateway.upstream import Uplink

if TYPE_CHECKING:
    from gateway.app import Gateway


def snapshot(gateway: Gateway) -> dict[str, Any]:
    """Counters and states; everything is JSON."""
    counts = gateway.pipeline.counts
    store = gateway.store
    return {
        "version": __version__,
        "gateway": gateway.settings.gateway.id,
        "boot": store.boot,
        "storeepoch": store.epoch,
        "uptime_s": round(gateway.clock.now().s - gateway.started_s, 1),
        "frames": {
            "in": counts.frames,
            "understood": counts.understood,
            "rejected": counts.rejected,
            "unknown": counts.unknown,
            "dropped": counts.dropped,
            "repeated_events": counts.repeated,
            "balanced": counts.balanced,
        },
        "refused": dict(counts.refused),
        "tolerated": dict(counts.tolerated),
        "events": dict(counts.events),
        "store": {
            "path": str(store.path),
            "failing": store.failing,
            "commits": store.commits,
            "commit_ms": round(1000 * store.commit_s / store.commits, 2) if store.commits else None,
            "commit_under_way_s": round(store.commit_under_way_s, 1),
            "waiting_rows": store.waiting_rows,
            "mb": round(store.used_bytes() / 1e6, 2),
            "shed": {lane.value: count for lane, count in gateway.keeper.shed.items() if count},
            "sequence": {lane.value: store.high(lane) for lane in Lane},
        },
        "uplinks": [_uplink(uplink) for uplink in gateway.upstream.uplinks],
        "clock": {"set": gateway.clock.now().ms >= gateway.pipeline.unset_before_ms},
        "registry": {"version": gateway.upstream.registry.version, "hash": gateway.upstream.registry.hash()},
        "undelivered_alarms": {name: watch.undelivered for name, watch in gateway.upstream.watches.items()},
        "broker": _broker(gateway),
        "mqtt_listener": gateway.southbound.status(),
        "ports": [
            {"transport": listener.settings.transport, "port": listener.port, **dict(listener.counts)} for listener in gateway.listeners
        ],
        "serial": [
            {"port": port.settings.port, "online": port.online, "baud": port.baud, "fault": port.fault or None, **dict(port.counts)}
            for port in gateway.serials
        ],
        "ble": [str(scanner.status) for scanner in gateway.scanners],
        "devices": len(gateway.inventory),
        "rules": {"faults": dict(gateway.rules.faults)} if gateway.rules is not None else None,
        "failures": dict(gateway.supervisor.failures),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _uplink(uplink: Uplink) -> dict[str, Any]:
    pump = uplink.pump
    return {
        "name": pump.name,
        "kind": pump.settings.kind,
        "connected": uplink.connected,
        "waiting": pump.waiting(),
        "sent": pump.sent,
        "delivered": pump.delivered,
        "repeated": pump.repeated,
        "skipped": pump.skipped,
        "dead": pump.dead,
        "acks_refused": pump.acks_refused,
        "window": uplink.window if isinstance(uplink, MqttUplink) else None,
        "alarm_p99_s": pump.latency[Lane.ALARM].quantile(0.99),
    }


def _broker(gateway: Gateway) -> dict[str, Any] | None:
    broker, link = gateway.broker, gateway.device_link
    if broker is None and link is None:
        return None
    found: dict[str, Any] = {"connected": link.connected if link is not None else False}
    if broker is not None:
        found |= {"kind": broker.kind, "host": broker.host, "port": broker.port, "restarts": broker.restarts}
    return found
