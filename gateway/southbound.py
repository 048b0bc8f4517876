"""MQTT towards devices, put together: drivers that live on topics, the embedded broker, the link to it, and the listener of our own.

    devices -> native listener (PUBACK after commit) --\
                                                        MqttDevices -> pipeline
    devices -> broker -> link (PUBACK after commit) ---/

With an accounts file each device has a credential and topics of its own, at the listener as at the embedded mosquitto; without one
there is a single shared user, good for a demo on loopback and for nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import structlog

from drivers import registry
from gateway import secrets
from gateway.accounts import GATEWAY_USER, Accounts, TopicRights, rights_fault
from gateway.broker.embedded import EmbeddedBroker
from gateway.errors import TransportError
from gateway.links.choice import make_link
from gateway.links.contract import LinkEvents, LinkOptions
from gateway.session import Session
from gateway.settings import Settings
from gateway.transports.identity import IdentityWatch
from gateway.transports.mqtt import MqttDevices
from gateway.transports.mqtt_listener import MqttListener

if TYPE_CHECKING:
    from gateway.app import Gateway

SESSIONS_NAME = "mqtt-sessions.json"
SUBSCRIBED_S = 3.0
"""A start waits so long for the first subscription at our own broker; it goes on without, and the link goes on trying."""


class MqttSide:
    """The MQTT parts of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.accounts: Accounts | None = None
        self.rights: TopicRights | None = None
        self.listener: MqttListener | None = None
        self._watch: IdentityWatch | None = None

    async def start_broker(self) -> None:
        """The drivers, then the embedded broker: its rights come from their topics. Raises AnhuError."""
        g = self._gateway
        s = g.settings
        m = s.mqtt
        g.mqtt = devices = MqttDevices(g.pipeline, g.clock, g.store.has_room)
        for section in s.subscribe:
            options = dict(section.options)
            if section.mapping_file:
                options["mapping"] = s.path(section.mapping_file).read_text("utf-8")
            driver = registry.load(section.driver)
            state = g.store.driver_state(section.driver)
            session = Session(driver, options, None, lambda sends: None, state=state, shared=True)
            devices.add(session)
            g.commands.attach(f"{section.driver}:*", session)
        file = s.path(m.accounts_file) if m.accounts_file else None
        shared = secrets.ensure(g.data_dir / "secrets" / "mqtt-devices") if file is None else ""
        self.accounts = Accounts(file, shared_password=shared, rights=m.rights)
        self.rights = TopicRights(devices.filters)
        devices.on_learned = self.rights.changed
        self._watch = IdentityWatch(g.pipeline, g.inventory, g.clock, s.gateway.id)
        if m.broker not in ("off", "external"):
            g.broker = EmbeddedBroker(m, g.data_dir, accounts=self.accounts if file is not None else None, rights=self.rights)
            await g.broker.start()
            g.supervisor.start("broker", g.broker.run)

    async def start(self) -> None:
        """The link and the listener. Raises AnhuError."""
        m = self._gateway.settings.mqtt
        if not self._gateway.settings.subscribe:
            return
        if m.broker != "off":
            heard = self._start_link()
            if self._gateway.broker is not None:
                # Before the first subscription our own broker takes messages that nobody will ever read.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), SUBSCRIBED_S)
        if m.listen == "native":
            await self._start_listener()

    async def stop(self) -> None:
        """Close the port."""
        if self.listener is not None:
            await self.listener.stop()

    def status(self) -> dict[str, Any] | None:
        """What `anhu status` shows of the listener."""
        listener = self.listener
        if listener is None:
            return None
        sizes = {"port": listener.port, "connected": len(listener.connections), "sessions": len(listener.sessions)}
        return {**sizes, **dict(listener.counts)}

    def _start_link(self) -> asyncio.Event:
        """Connect to the broker; the result is set once it has answered and has our subscriptions."""
        g = self._gateway
        s, m = g.settings, g.settings.mqtt
        if g.broker is not None:
            host, port, user, password, ca = g.broker.host, g.broker.port, GATEWAY_USER, g.broker.password, ""
        else:
            host, port, user, ca = m.host, m.port, m.user, g.ca(m.ca_file)
            password = secrets.read(s.path(m.password_file)) if m.password_file else ""
        version = "3.1.1" if g.broker is not None else m.version
        options = LinkOptions(
            host=host, port=port, client_id=f"anhu-{s.gateway.id}-in", version=version, user=user, password=password, ca_file=ca
        )
        assert g.mqtt is not None
        heard = asyncio.Event()

        def up() -> None:
            structlog.get_logger().info("device broker connected")
            heard.set()

        events = LinkEvents(g.mqtt.on_messages, lambda tokens: None, up, lambda why: None)
        g.device_link = make_link(m.link, options, events)
        g.mqtt.use(g.device_link, watch=self._watch if g.broker is not None and g.broker.kind == "mosquitto" else None)
        g.supervisor.start("mqtt devices", g.device_link.run)
        return heard

    async def _start_listener(self) -> None:
        g = self._gateway
        m = g.settings.mqtt
        assert g.mqtt is not None
        assert self.accounts is not None
        assert self.rights is not None
        assert self._watch is not None
        self.listener = MqttListener(
            m,
            g.mqtt,
            self.accounts,
            self.rights,
            g.clock,
            room=g.store.has_room,
            watch=self._watch,
            file=g.data_dir / SESSIONS_NAME,
            tls=self._tls(),
        )
        await self.listener.start()
        g.mqtt.front(self.listener)
        g.supervisor.start("mqtt listener", self.listener.run)

    def _tls(self) -> ssl.SSLContext | None:
        s, m = self._gateway.settings, self._gateway.settings.mqtt
        if not m.cert_file:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(s.path(m.cert_file), s.path(m.key_file) if m.key_file else None)
        except (OSError, ssl.SSLError) as error:
            raise TransportError(
                f"mqtt.cert_file: cannot be used: {error}", hint="certificate and key as PEM, readable by this user"
            ) from error
        return context


def mqtt_faults(settings: Settings) -> list[str]:
    """What is wrong with `[mqtt]` beyond its single keys."""
    m = settings.mqtt
    faults = rights_fault(m.rights)
    if settings.subscribe and m.broker == "off" and m.listen == "off":
        faults.append("mqtt.broker: off, but [[subscribe]] needs one; set auto or external, or mqtt.listen to native")
    if m.rights and not m.accounts_file:
        faults.append("mqtt.rights: needs mqtt.accounts_file")
    if m.accounts_file and m.broker == "nats":
        faults.append("mqtt.broker: nats cannot read mqtt.accounts_file; use mosquitto, or off and mqtt.listen = native")
    if m.key_file and not m.cert_file:
        faults.append("mqtt.cert_file: missing, mqtt.key_file is given")
    return faults
