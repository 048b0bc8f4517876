"""Everything between the store and the platforms: builds the uplinks of the settings and ties them to registry, commands and watches."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING

from drivers.api import Occurrence
from drivers.events import Event
from drivers.vocabulary import Lane, TimeQuality
from gateway import __version__, people, secrets
from gateway.links.choice import make_link
from gateway.links.contract import LinkOptions, Will
from gateway.registry import Registry
from gateway.settings import UplinkSection
from gateway.store.contract import Batch, Stage
from gateway.uplinks.envelope import CONTRACT, Wrapper
from gateway.uplinks.file import FileUplink
from gateway.uplinks.messages import Birth, Health
from gateway.uplinks.mqtt import MqttUplink, Platform, root_of
from gateway.uplinks.pump import Pump
from gateway.uplinks.watch import AlarmWatch
from gateway.uplinks.webhook import WebhookUplink

if TYPE_CHECKING:
    from gateway.app import Gateway

Uplink = MqttUplink | WebhookUplink | FileUplink


class Upstream:
    """The platforms of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.uplinks: list[Uplink] = []
        self.registry = Registry(gateway.inventory, gateway.clock.now)
        self.watches: dict[str, AlarmWatch] = {}
        self._gateway = gateway

    async def start(self) -> None:
        """Start every uplink of the settings. Raises AnhuError where a secret or certificate cannot be read."""
        gateway = self._gateway
        found = gateway.store.query("SELECT version, patch FROM desired ORDER BY version DESC LIMIT 1")
        if found:
            self.registry.restore(int(found[0][0]), str(found[0][1]))  # type: ignore[call-overload]  # columns of the table
            self._reassign()
        self.registry.on_change.append(self._reassign)
        gateway.pipeline.on_event.append(self._hear)
        gateway.pipeline.on_answered = self._answered
        for settings in gateway.settings.uplink:
            await self._start(settings)

    async def revive(self, uplink: str, ids: list[str]) -> dict[str, int]:
        """Send dead letters again, those of one uplink or all, those of `ids` or all: how many go out, and how many have left the
        database since."""
        store = self._gateway.store
        rows = await asyncio.to_thread(store.query, "SELECT uplink, lane, seq, substr(data, 8, 26) FROM dead")
        wanted: dict[tuple[str, Lane], list[int]] = {}
        for name, lane, seq, ident in rows:
            if uplink in ("", name) and (not ids or bytes(ident).decode() in ids):  # type: ignore[call-overload]  # BLOB column
                wanted.setdefault((str(name), Lane(str(lane))), []).append(int(seq))  # type: ignore[call-overload]  # INTEGER column
        pumps = {each.pump.name: each.pump for each in self.uplinks}
        revived: list[tuple[str, Lane, int]] = []
        for (name, lane), seqs in wanted.items():
            if name in pumps:
                revived += [(name, lane, seq) for seq in pumps[name].again(lane, seqs)]
        if revived:
            await store.append(Batch(revived=revived, urgent=True))
        return {"sent_again": len(revived), "not_there": sum(map(len, wanted.values())) - len(revived)}

    def tick(self) -> None:
        """Once a second: alarms that are overdue."""
        now_s = self._gateway.clock.now().s
        for watch in self.watches.values():
            watch.tick(now_s)

    async def _start(self, settings: UplinkSection) -> None:
        gateway = self._gateway
        g = gateway.settings.gateway
        store = gateway.store
        wrapper = Wrapper(g.tenant, g.id, store.epoch, store.boot_of)
        pump = Pump(settings, store, lambda: gateway.clock.now().ms)
        if settings.kind != "file" and Lane.ALARM in pump.lanes:
            await self._watch(settings, pump)
        uplink: Uplink
        if settings.kind == "mqtt":
            uplink = self._mqtt(settings, pump, wrapper)
        elif settings.kind == "webhook":
            secret = secrets.read(gateway.settings.path(settings.secret_file)).encode() if settings.secret_file else b""
            uplink = WebhookUplink(pump, wrapper, secret=secret, tls=self._tls(settings), now_s=lambda: gateway.clock.now().ms // 1000)
        else:
            uplink = FileUplink(pump, wrapper, gateway.settings.path(settings.path))
        self.uplinks.append(uplink)
        gateway.supervisor.start(f"uplink {settings.name}", uplink.run)

    async def _watch(self, settings: UplinkSection, pump: Pump) -> None:
        store, now = self._gateway.store, self._gateway.clock.now()
        watch = self.watches[settings.name] = AlarmWatch(settings, self._say)
        cursor = store.cursor(settings.name, Lane.ALARM)
        for first, last in [*cursor.missing, (cursor.next, store.high(Lane.ALARM))]:
            watch.restore(await store.read(Lane.ALARM, max(first, last - 999), last, 1000), now.ms, now.s)
        pump.on_done.append(lambda name, ident: watch.done(ident))

    def _mqtt(self, settings: UplinkSection, pump: Pump, wrapper: Wrapper) -> MqttUplink:
        gateway = self._gateway
        g = gateway.settings.gateway
        root = root_of(g.tenant, g.id)
        platform = Platform(self.birth, self.health, gateway.commands.ask, self.registry, self._commit)
        uplink = MqttUplink(pump, wrapper, root=root, platform=platform)
        gateway.commands.answer_to(settings.name, uplink.answer)
        path = gateway.settings.path
        options = LinkOptions(
            host=settings.host,
            port=settings.port,
            client_id=f"anhu-{g.tenant}-{g.id}-{settings.name}",
            version=settings.version,
            user=settings.user,
            password=secrets.read(path(settings.password_file)) if settings.password_file else "",
            ca_file=gateway.ca(settings.ca_file),
            cert_file=str(path(settings.cert_file)) if settings.cert_file else "",
            key_file=str(path(settings.key_file)) if settings.key_file else "",
            keepalive_s=settings.keepalive_s,
            will=Will(f"{root}/birth", b'{"online":false}'),
            topics=uplink.topics,
        )
        link = make_link(self._gateway.settings.mqtt.link, options, uplink.events)
        uplink.link = link
        gateway.supervisor.start(f"uplink link {settings.name}", link.run)
        return uplink

    def _tls(self, settings: UplinkSection) -> ssl.SSLContext | None:
        if not settings.url.startswith("https"):
            return None
        ca = self._gateway.ca(settings.ca_file)
        context = ssl.create_default_context(cafile=None if ca in ("", "system") else ca)
        if settings.cert_file:
            path = self._gateway.settings.path
            context.load_cert_chain(path(settings.cert_file), path(settings.key_file) if settings.key_file else None)
        return context

    def birth(self) -> Birth:
        """Who and what this gateway is."""
        gateway = self._gateway
        g = gateway.settings.gateway
        return Birth(
            online=True,
            gateway=g.id,
            tenant=g.tenant,
            version=__version__,
            contract=CONTRACT,
            storeepoch=gateway.store.epoch,
            boot=gateway.store.boot,
            at_ms=gateway.clock.now().ms,
            devices=len(gateway.inventory),
            registry=self.registry.head(),
            sequence={lane.value: gateway.store.high(lane) for lane in Lane},
        )

    def health(self) -> Health:
        """How this gateway is."""
        gateway, store = self._gateway, self._gateway.store
        now = gateway.clock.now()
        waiting: dict[str, int] = {}
        for uplink in self.uplinks:
            for lane, count in uplink.pump.waiting().items():
                waiting[lane] = max(waiting.get(lane, 0), count)
        return Health(
            at_ms=now.ms,
            uptime_s=round(now.s - gateway.started_s, 1),
            rss_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            store_mb=round(store.used_bytes() / 1e6, 1),
            commit_ms=round(1000 * store.commit_s / store.commits, 2) if store.commits else None,
            failing=store.failing,
            commit_under_way_s=round(store.commit_under_way_s, 1),
            waiting=waiting,
            devices=len(gateway.inventory),
        )

    async def _commit(self, batch: Batch) -> None:
        await self._gateway.store.append(batch)

    def _hear(self, event: Event) -> None:
        """An event is on disk."""
        self.registry.hear(event)
        if event.lane is Lane.ALARM:
            now = self._gateway.clock.now()
            self._gateway.store.note([Stage(event.id, "received", event.received_ms), Stage(event.id, "committed", now.ms)])
            for watch in self.watches.values():
                watch.hear(event, now.s)

    def _answered(self, events: Sequence[Event]) -> None:
        now_ms = self._gateway.clock.now().ms
        stages = [Stage(event.id, "acked", now_ms) for event in events if event.lane is Lane.ALARM]
        if stages:
            self._gateway.store.note(stages)

    def _say(self, body: Occurrence, subject: str | None, cause: str) -> None:
        now = self._gateway.clock.now()
        event = Event(device=self._gateway.device, subject=subject, at_ms=now.ms, body=body, cause=cause, time_quality=TimeQuality.RECEIVED)
        self._gateway.pipeline.publish([event])

    def _reassign(self) -> None:
        """Assignments came into force: the rules see who a device belongs to now."""
        self._gateway.directory.replace(*people.tables_of(self._gateway.inventory, self._gateway.people))
        if self._gateway.rule_settings is not None:
            self._gateway.rule_settings.forget()


def uplink_faults(settings: UplinkSection, where: str) -> list[str]:
    """What the kind of an uplink needs and does not have."""
    faults: list[str] = []
    if settings.kind == "mqtt" and not settings.host:
        faults.append(f"{where}.host: missing")
    if settings.kind == "webhook" and not settings.url.startswith(("https://", "http://")):
        faults.append(f"{where}.url: https://... expected, got {settings.url!r}")
    if settings.kind == "file" and not settings.path:
        faults.append(f"{where}.path: missing")
    if settings.kind != "mqtt" and settings.ack == "application":
        faults.append(f"{where}.ack: application acknowledgement is for kind mqtt; the answer of a webhook is its acknowledgement")
    return faults


__all__ = ["Upstream", "uplink_faults"]
