"""One gateway: builds every part from the settings, starts sinks first and sources last, stops in the opposite order.

    store -> rules -> pipeline -> commands -> broker -> uplinks -> control socket | device ports, MQTT, serial, BLE

The store is open and filling before any link is up; construction checks everything that needs no network.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import sqlite3
import ssl
from typing import Any

import structlog

from drivers import registry
from drivers.api import Driver, Event, Explanation, Occurrence, OccurrenceKind, Send, Transport
from drivers.vocabulary import TimeQuality
from gateway import __version__, exposition, inventory, people
from gateway.acts import PeopleActs
from gateway.admission import LONGEST_PAIRING_S, Takeovers, append_row
from gateway.broker.embedded import EmbeddedBroker
from gateway.capture import Capture
from gateway.clock import STEP_MS, Clock, ClockWatch, SystemClock
from gateway.commands import CommandCentre
from gateway.control import SOCKET_NAME, ControlServer
from gateway.errors import AnhuError, Fault, SettingsError
from gateway.links.contract import Link
from gateway.nearby import Nearby
from gateway.pipeline import CLOCK_UNSET_MS, Pipeline
from gateway.reload import reload, rule_tables
from gateway.rules import all_rules
from gateway.rules.directory import HouseholdDirectory
from gateway.rules.engine import RuleEngine
from gateway.rules.settings import RuleSettings
from gateway.session import Session
from gateway.settings import Settings, UplinkSection
from gateway.southbound import MqttSide, mqtt_faults
from gateway.status import snapshot
from gateway.store.contract import LANES, Batch
from gateway.store.retention import Keeper
from gateway.store.sqlite import SqliteStore
from gateway.supervisor import Supervisor
from gateway.transports.adverts import AdvertRouter
from gateway.transports.mqtt import MqttDevices
from gateway.transports.serial import LineSession, SerialPort
from gateway.transports.tcp import TcpListener, candidates
from gateway.transports.udp import UdpListener
from gateway.upstream import Upstream, uplink_faults

RECENT_IDS_PER_LANE = 20_000
STOP_S = 10.0
BELIEVED_AFTER_S = 3600.0
"""A clock that nobody has set for so long after the start is believed."""


class Gateway:
    """A running gateway: `await start()`, `await stop()`; `stopped` is set by the control socket."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.data_dir = settings.path(settings.gateway.data_dir)
        rows = inventory.read(settings.path(settings.devices.file)) if settings.devices.file else []
        self.inventory = inventory.Inventory(rows, accept_any=settings.devices.accept == "any")
        known = people.read_people(settings.path(settings.rules.people_file)) if settings.rules.people_file else {}
        self.people = known
        self.directory = people.directory_of(self.inventory, known)
        self.rule_settings: RuleSettings | None = None
        self.rules = self._make_rules(self.directory) if settings.rules.on else None
        check_references(settings, self.inventory)
        self.supervisor = Supervisor()
        self.broker: EmbeddedBroker | None = None
        self.upstream = Upstream(self)
        self.listeners: list[TcpListener | UdpListener] = []
        self.serials: list[SerialPort] = []
        self.scanners: list[Any] = []
        self.adverts: AdvertRouter | None = None
        self.mqtt: MqttDevices | None = None
        self.device_link: Link | None = None
        self.southbound = MqttSide(self)
        self.started_s = self.clock.now().s
        self.clock_watch = ClockWatch()
        self.stopped = asyncio.Event()
        self.again = False
        """Whether to start once more after the stop: the database was found damaged and is recovered when it is opened."""
        self.store: SqliteStore
        self.keeper: Keeper
        self.pipeline: Pipeline
        self.commands: CommandCentre
        self.takeovers = Takeovers()
        self._pairing: asyncio.TimerHandle | None = None
        self._control: ControlServer | None = None
        self._lock: Any = None
        self._capture: Capture | None = None

    async def start(self) -> None:
        """Bring everything up. Raises AnhuError with what to do; what was started until then is stopped again."""
        try:
            await self._start_sinks()
            await self._start_sources()
            # Last: whoever gets an answer here may count on every port being open.
            self._control = ControlServer(self.data_dir / SOCKET_NAME, self._handlers())
            await self._control.start()
        except BaseException:
            await self.stop()
            raise
        bodies = [Occurrence(kind=OccurrenceKind.STARTED, detail=f"anhu {__version__}, boot {self.store.boot}")]
        if self.store.recovered is not None:
            bodies.append(Occurrence(kind=OccurrenceKind.RECOVERED, detail=self.store.recovered.text))
        self.say(bodies)
        structlog.get_logger().info("gateway started", version=__version__, devices=len(self.inventory), boot=self.store.boot)

    @property
    def device(self) -> str:
        """The gateway itself, as events name it."""
        return f"gateway:{self.settings.gateway.id}"

    def say(self, bodies: list[Occurrence], batch: Batch | None = None) -> asyncio.Future[None]:
        """Events of the gateway about itself."""
        now = self.clock.now()
        events = [Event(device=self.device, at_ms=now.ms, body=body, time_quality=TimeQuality.RECEIVED) for body in bodies]
        return self.pipeline.publish(events, batch=batch)

    def _start_again(self) -> None:
        self.again = True
        self.stopped.set()

    async def stop(self) -> None:
        """Sources first, then drain, then sinks."""
        for listener in self.listeners:
            await listener.stop()
        await self.southbound.stop()
        await self.supervisor.stop()
        if self._control is not None:
            await self._control.stop()
        if self.broker is not None:
            await self.broker.stop()
        if hasattr(self, "store"):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.store.close(), STOP_S)
        if self._capture is not None:
            self._capture.close()
        if self._lock is not None:
            self._lock.close()

    def session(
        self, driver: type[Driver], options: dict[str, Any], device: str | None = None, *, kind: type[Session] = Session
    ) -> Session:
        """A session for a transport; `send` is set by the transport that owns the wire."""
        state = self.store.driver_state(device) if device else None
        session = kind(driver, options, device, _no_wire, state=state)
        if device is not None:
            self.commands.attach(device, session)
        return session

    def status(self) -> dict[str, Any]:
        """What `anhu status` shows."""
        return snapshot(self)

    # --- sinks ---------------------------------------------------------------------------------------------------------------

    async def _start_sinks(self) -> None:
        s = self.settings
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        self.store = await SqliteStore.open(self.data_dir / "anhu.db", s.store)
        self.store.on_damage = self._start_again
        self.store.serve({uplink.name: tuple(lane for lane in LANES if lane.value in uplink.lanes) for uplink in s.uplink})
        behind_ms = 0
        if self.store.last_steady is not None and isinstance(self.clock, SystemClock):
            steady_s, wall_ms = self.store.last_steady
            self.clock.resume(steady_s=steady_s, wall_ms=wall_ms)
            self.started_s = self.clock.now().s
            behind_ms = wall_ms - self.clock.now().ms
        self.store.keep_time(self.clock.now)
        self.pipeline = Pipeline(self.clock, self.inventory, self.store, self.rules)
        if s.gateway.capture_file:
            most_bytes = int(s.gateway.capture_mb * 1_000_000)
            self._capture = Capture(s.path(s.gateway.capture_file), most_bytes=most_bytes, mask=s.gateway.capture_mask)
            self.pipeline.on_frames = self._capture.take
        if behind_ms > STEP_MS:
            # Earlier than the last boot ended: a box without a battery clock, before the network has set it.
            self.pipeline.unset_before_ms = max(CLOCK_UNSET_MS, self.clock.now().ms + behind_ms)
        self.clock_watch.look(self.clock.now())
        self.pipeline.remember(self.store.recent_ids(RECENT_IDS_PER_LANE))
        self.pipeline.on_accepted = self._accepted
        self.commands = CommandCentre(self.pipeline, self.store, self.clock)
        self.commands.knows = lambda device: self.inventory.find(device) is not None
        self.commands.local_device = self.device
        self.commands.local = PeopleActs(self.pipeline, self.store, self.rules, self.directory, self.clock.now).do
        if self.rules is not None:
            self.rules.restore(self.store.rule_states(), int(self.clock.now().s * 1000))
            self.pipeline.start_rules()
        self.supervisor.start("command expiry", self._tick)
        self.keeper = Keeper(
            self.store, s.store, lambda events, batch: self.pipeline.publish(events, batch=batch), self.clock.now, self.device
        )
        self.supervisor.start("retention", self.keeper.run)
        await self.southbound.start_broker()
        await self.upstream.start()
        if s.gateway.metrics_port:
            server = exposition.MetricsServer(s.gateway.metrics_port, lambda: exposition.page(self))
            self.supervisor.start("metrics", server.run)
        self.commands.resume()

    # --- sources -------------------------------------------------------------------------------------------------------------

    async def _start_sources(self) -> None:
        s = self.settings
        await self.southbound.start()
        for port in s.serial:
            driver = registry.load(port.driver)
            device = f"{port.driver}:{port.device}"
            row = self.inventory.find(device)
            session = self.session(driver, {**port.options, **(row.options if row else {})}, device, kind=LineSession)
            serial = SerialPort(port, session, self.pipeline, self.clock, self.store.has_room)
            self.serials.append(serial)
            self.supervisor.start(f"serial {port.port}", serial.run)
        if s.ble:
            self._start_ble()
        for listen in s.listen:
            await self._start_listener(listen)

    def _start_ble(self) -> None:
        from gateway.transports.ble import BleScanner

        drivers = list(dict.fromkeys(name for section in self.settings.ble for name in section.drivers))
        options = {name: table for section in self.settings.ble for name, table in section.options.items()}
        self.adverts = AdvertRouter(self.pipeline, self.inventory, drivers, make=self.session, connect=self._connect_gatt, options=options)
        nearby = Nearby()
        self.pipeline.on_event.append(nearby.hear)
        self.inventory.subject_in = nearby.subject_in
        for section in self.settings.ble:
            scanner = BleScanner(self.clock.now, adapter=section.adapter or None, active=section.active, receiver=section.room)
            self.scanners.append(scanner)
            scan = functools.partial(scanner.run, self.adverts.deliver, self.adverts.rank)
            self.supervisor.start(f"ble {section.adapter or 'default'}", scan)

    def _connect_gatt(self, address: str, session: Session) -> None:
        """A known device whose values are behind a connection: the first adapter that has heard it connects."""
        from gateway.transports.ble_gatt import GattSession

        def find(wanted: str) -> Any:
            return next(filter(None, (scanner.device(wanted) for scanner in self.scanners)), None)

        gatt = GattSession(address, self.clock.now, lambda frame: self.pipeline.feed(session, [frame]), find=find)
        session.send = gatt.send
        self.supervisor.start(f"gatt {address}", gatt.run)

    async def _start_listener(self, listen: Any) -> None:
        tls = None
        if listen.cert_file:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.settings.path(listen.cert_file), self.settings.path(listen.key_file) if listen.key_file else None)
        transport = Transport.TCP if listen.transport == "tcp" else Transport.UDP
        common: dict[str, Any] = {
            "make": self.session,
            "candidates": candidates(listen.driver, transport),
            "detach": self._detach,
            "room": self.store.has_room,
        }
        listener: TcpListener | UdpListener
        if transport is Transport.TCP:
            listener = TcpListener(listen, self.pipeline, self.clock, tls=tls, **common)
        else:
            listener = UdpListener(listen, self.pipeline, self.clock, **common)
        await listener.start()
        self.listeners.append(listener)
        self.supervisor.start(f"{listen.transport} {listener.port}", listener.run)

    # --- small things ----------------------------------------------------------------------------------------------------------

    def _accepted(self, session: Session) -> None:
        """A connection has shown that it is one of ours: newest serves."""
        device = session.device
        assert device is not None
        state = self.store.driver_state(device)
        if state is not None:
            session.load(state)
        before = self.commands.session_of(device)
        self.commands.attach(device, session)
        if before is not None and before is not session and before.device == device and before.exclusive and session.exclusive:
            self._replaced(device, before, session)

    def _replaced(self, device: str, before: Session, session: Session) -> None:
        """Newest serves. The old connection is half-open, or a second device claims the same identity."""
        before.close("replaced by a newer connection")
        now = self.clock.now()
        if self.takeovers.note(device, now.s):
            detail = f"two connections in turn: {before.peer} and {session.peer}"
            body = Occurrence(kind=OccurrenceKind.IDENTITY_CONFLICT, detail=detail)
            self.pipeline.publish([Event(device=device, at_ms=now.ms, body=body, time_quality=TimeQuality.RECEIVED)])

    def pair(self, seconds: float) -> float:
        """Open a window in which devices that speak are taken into the devices file; 0 closes it. The seconds it stays open."""
        seconds = min(max(seconds, 0.0), LONGEST_PAIRING_S)
        self.inventory.on_stranger = self._take_in if seconds else None
        if self._pairing is not None:
            self._pairing.cancel()
            self._pairing = None
        if seconds:
            self._pairing = asyncio.get_running_loop().call_later(seconds, self.pair, 0)
        structlog.get_logger().info("pairing window", seconds=seconds)
        return seconds

    def _take_in(self, device: inventory.Device) -> bool:
        if device.driver not in registry.names():
            return False
        if self.settings.devices.file:
            append_row(self.settings.path(self.settings.devices.file), device)
        structlog.get_logger().info("device paired", device=device.device)
        return True

    def _detach(self, session: Session) -> None:
        self.pipeline.forget(session)
        if session.device is not None:
            self.commands.detach(session.device, session)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.commands.tick()
            self.upstream.tick()
            self._watch_clock()

    async def _erase(self, subject: str) -> dict[str, Any]:
        """Forget a person: rules first, so that no state is written again behind the erasure."""
        if not subject:
            return {"error": "subject: missing"}
        devices = [row.device for row in self.inventory.all() if row.subject == subject]
        if self.rules is not None:
            for key in (subject, *devices):
                self.rules.forget(key)
        try:
            await self.store.append(Batch(urgent=True))
            return {"erased": await self.store.erase(subject, devices, self.clock.now().ms)}
        except sqlite3.Error as error:
            return {"error": f"not erased: {error}"}

    def _watch_clock(self) -> None:
        """A clock that was set is told, with what to add to the stamps of before."""
        now = self.clock.now()
        step = self.clock_watch.look(now)
        was_unset = now.ms - step < self.pipeline.unset_before_ms
        if step > 0 or now.s - self.started_s > BELIEVED_AFTER_S:
            self.pipeline.unset_before_ms = CLOCK_UNSET_MS
        if step:
            numbers = {"offset_ms": float(step), "boot": float(self.store.boot), "was_unset": float(was_unset)}
            detail = f"{step / 1000:+.3f} s" + (" (the clock was not set before)" if was_unset else "")
            self.say([Occurrence(kind=OccurrenceKind.CLOCK_STEP, detail=detail, explain=Explanation(rule="clock", numbers=numbers))])

    def _handlers(self) -> dict[str, Any]:
        async def status(request: dict[str, Any]) -> dict[str, Any]:
            return self.status()

        async def metrics(request: dict[str, Any]) -> dict[str, Any]:
            return {"text": exposition.page(self)}

        async def erase(request: dict[str, Any]) -> dict[str, Any]:
            return await self._erase(str(request.get("subject", "")))

        async def stop(request: dict[str, Any]) -> dict[str, Any]:
            self.stopped.set()
            return {"ok": True}

        async def command(request: dict[str, Any]) -> dict[str, Any]:
            answers: list[dict[str, Any]] = []
            ended = asyncio.Event()
            local = UplinkSection(name="local", dangerous=[str(verb) for verb in request.get("allow", [])])

            def note(ident: str, verb: str, status: str, detail: str | None) -> None:
                answers.append({"id": ident, "verb": verb, "status": status, "detail": detail})
                if status not in ("accepted", "running"):
                    ended.set()

            await self.commands.ask(request.get("command"), local, note)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), float(request.get("wait_s", 3.0)))
            return {"answers": answers}

        async def again(request: dict[str, Any]) -> dict[str, Any]:
            try:
                return reload(self)
            except SettingsError as error:
                return {"error": error.message}

        async def pair(request: dict[str, Any]) -> dict[str, Any]:
            return {"seconds": self.pair(float(request.get("seconds", 300)))}

        async def revive(request: dict[str, Any]) -> dict[str, Any]:
            return await self.upstream.revive(str(request.get("uplink", "")), [str(ident) for ident in request.get("ids", [])])

        return {
            "status": status,
            "metrics": metrics,
            "revive": revive,
            "erase": erase,
            "stop": stop,
            "pair": pair,
            "reload": again,
            "command": command,
        }

    def _take_lock(self) -> None:
        self._lock = (self.data_dir / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AnhuError(
                f"{self.data_dir}: another gateway uses this folder", hint="anhu status; or give this one its own gateway.data_dir"
            ) from None

    def _make_rules(self, directory: HouseholdDirectory) -> RuleEngine:
        rules = all_rules()
        self.rule_settings = RuleSettings(rules, directory, rule_tables(self.settings))
        return RuleEngine(rules, self.rule_settings, directory)

    def ca(self, text: str) -> str:
        """A CA setting: a path of the settings file, or `system`, or nothing."""
        return text if text in ("", "system") else str(self.settings.path(text))


def check_references(settings: Settings, devices: inventory.Inventory) -> None:
    """What no single key shows: drivers, files and devices that the settings name. Raises SettingsError with every fault."""
    faults = []
    for index, listen in enumerate(settings.listen, 1):
        faults += _driver_faults(f"listen[{index}]", listen.driver, listen.options, auto=True)
    for index, port in enumerate(settings.serial, 1):
        faults += _driver_faults(f"serial[{index}]", port.driver, port.options)
        if devices.find(f"{port.driver}:{port.device}") is None:
            faults.append(f"serial[{index}].device: {port.driver}:{port.device} is not in the devices file")
    for index, section in enumerate(settings.subscribe, 1):
        faults += _driver_faults(f"subscribe[{index}]", section.driver, section.options)
    for index, ble in enumerate(settings.ble, 1):
        for name in ble.drivers:
            faults += _driver_faults(f"ble[{index}]", name, {})
    names = [uplink.name for uplink in settings.uplink]
    faults += [f"uplink: two are called {name!r}; each needs its own cursor" for name in sorted({n for n in names if names.count(n) > 1})]
    for index, uplink in enumerate(settings.uplink, 1):
        faults += uplink_faults(uplink, f"uplink[{index}]")
    faults += mqtt_faults(settings)
    if faults:
        raise SettingsError([Fault("settings", 0, fault) for fault in faults])


def _driver_faults(where: str, name: str, options: dict[str, Any], *, auto: bool = False) -> list[str]:
    if auto and name == "auto":
        return []
    try:
        registry.load(name)(options, None)
    except Exception as error:  # noqa: BLE001 - a vendor's constructor may raise anything; it is told, not raised
        return [f"{where}.driver: {error}"]
    return []


def _no_wire(sends: list[Send]) -> None:
    """Until the transport has set its own."""


__all__ = ["Gateway", "check_references"]
