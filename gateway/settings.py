"""Settings: one TOML file, read once, every fault reported at once with file and line.

Each key is a field below with type, default and help; `config/anhu.toml` is generated from them (`anhu check --sample`) and
pinned by a test. Construction validates, opening is I/O: a fault here stops the start, a network that is away never does.
"""

from __future__ import annotations

import difflib
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from gateway import toml_lines
from gateway.errors import Fault, SettingsError

Port = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Positive = Annotated[float, Meta(gt=0)]


class _Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""


class GatewaySection(_Section):
    """Who this box is and where it keeps its data."""

    id: Annotated[Name, "id of this gateway in topics and events"] = "gw-1"
    tenant: Annotated[Name, "tenant of the platform"] = "anhu"
    data_dir: Annotated[str, "database, secrets and broker files; one gateway per folder"] = "var"
    language: Annotated[Literal["zh", "en"], "language of texts for people"] = "zh"
    time_zone: Annotated[str, "IANA zone of this site"] = "Asia/Shanghai"
    metrics_port: Annotated[Port, "Prometheus metrics on 127.0.0.1; 0: off"] = 0
    log: Annotated[Literal["debug", "info", "warning", "error"], "how much is logged"] = "info"
    capture_file: Annotated[str, "record what devices send into this file (anhu replay --capture reads it); empty: off"] = ""
    capture_mb: Annotated[Positive, "recording ends at this size"] = 100.0
    capture_mask: Annotated[bool, "replace long numbers of text frames in the recording"] = False


class DevicesSection(_Section):
    """Which devices are served."""

    file: Annotated[str, "CSV: device,driver,subject,name,place,wire,options; empty: none"] = ""
    accept: Annotated[Literal["known", "any"], "known: only devices of the file, others are listed as discovered; any: serve all"] = "known"


class StoreSection(_Section):
    """The database, the durability point of everything."""

    commit_ms: Annotated[Positive, "events wait at most so long for company in one commit; alarms never wait"] = 20.0
    commit_rows: Annotated[int, Meta(ge=1, le=100_000), "a commit is due at so many rows"] = 128
    keep_days: Annotated[Positive, "history that is kept after delivery"] = 90.0
    max_mb: Annotated[
        Positive, "cap of the database; delivered history goes first, then the oldest undelivered telemetry, alarms never"
    ] = 2000.0
    telemetry_max_days: Annotated[Positive, "undelivered telemetry older than this is shed"] = 30.0
    quarantine_rows: Annotated[int, Meta(ge=10), "refused frames that are kept for inspection"] = 10_000


class MqttSection(_Section):
    """The broker that devices publish to."""

    broker: Annotated[
        Literal["off", "auto", "mosquitto", "nats", "external"],
        "auto: mosquitto where installed, else nats-server (extra `embedded`); external: host and port below",
    ] = "off"
    host: Annotated[str, "broker address; embedded brokers listen here"] = "127.0.0.1"
    port: Annotated[Port, "0: a free port (embedded only)"] = 1883
    user: Annotated[str, "user of the gateway at an external broker"] = ""
    password_file: Annotated[str, "file with the password, mode 600"] = ""
    ca_file: Annotated[str, "CA certificates for TLS; `system`: those of the machine; empty: no TLS"] = ""
    version: Annotated[Literal["3.1.1", "5"], "protocol towards an external broker"] = "3.1.1"
    link: Annotated[Literal["native", "paho"], "client towards brokers of devices and platforms; paho: the fallback"] = "native"
    listen: Annotated[
        Literal["off", "native"], "native: a listener of our own, whose PUBACK follows the commit; beside a broker or alone"
    ] = "off"
    listen_host: Annotated[str, "native listener: address"] = "0.0.0.0"  # noqa: S104 - devices come from outside
    listen_port: Annotated[Port, "native listener: port; 0: a free one"] = 8883
    cert_file: Annotated[str, "native listener: TLS certificate; empty: no TLS"] = ""
    key_file: Annotated[str, "native listener: TLS key"] = ""
    accounts_file: Annotated[
        str, "credentials of devices, one `user:hash` a line (anhu enroll); empty: one shared user `devices`, for demos only"
    ] = ""
    rights: Annotated[dict[str, list[str]], "accounts that speak for many devices: user to the topic filters that it may use"] = {}
    max_connections: Annotated[int, Meta(ge=1), "native listener: more are refused"] = 10_000


class SubscribeSection(_Section):
    """A driver that lives on MQTT topics."""

    driver: Annotated[str, "name of the driver (anhu drivers)"]
    mapping_file: Annotated[str, "mqtt_json: TOML mapping"] = ""
    options: Annotated[dict[str, Any], "options of the driver"] = {}


class ListenSection(_Section):
    """A TCP or UDP port for devices."""

    port: Annotated[Port, "port to listen on; 0: a free one"]
    driver: Annotated[str, "driver of every device on this port; `auto`: told by the first bytes"] = "auto"
    host: Annotated[str, "address to listen on"] = "0.0.0.0"  # noqa: S104 - devices come from outside
    transport: Annotated[Literal["tcp", "udp"], "wire"] = "tcp"
    idle_s: Annotated[Positive, "a connection that is silent for so long is closed"] = 1800.0
    login_s: Annotated[Positive, "a connection that has not shown who it is by then is closed"] = 60.0
    max_connections: Annotated[int, Meta(ge=1), "more are refused"] = 20_000
    cert_file: Annotated[str, "TLS certificate; empty: no TLS"] = ""
    key_file: Annotated[str, "TLS key"] = ""
    options: Annotated[dict[str, Any], "options of the driver"] = {}


Baud = Annotated[int, Meta(ge=50, le=4_000_000)] | Literal["auto"]


class SerialSection(_Section):
    """A device on a serial port."""

    port: Annotated[str, "path (prefer /dev/serial/by-id/...), socket://host:port or rfc2217://host:port"]
    driver: Annotated[str, "name of the driver"]
    device: Annotated[str, "id of the device, as in the devices file without the driver's name"]
    baud: Annotated[Baud, "bits per second; auto: what such a device usually speaks, another rate where that makes no sense"] = "auto"
    parity: Annotated[Literal["N", "E", "O"], "parity"] = "N"
    stop_bits: Annotated[Literal[1, 2], "stop bits"] = 1
    options: Annotated[dict[str, Any], "options of the driver"] = {}


class BleSection(_Section):
    """A Bluetooth adapter that listens to advertisements."""

    adapter: Annotated[str, "adapter of BlueZ; empty: the first"] = ""
    active: Annotated[bool, "active scan (asks for scan responses)"] = True
    drivers: Annotated[list[str], "drivers tried for advertisements"] = msgspec.field(default_factory=lambda: ["bthome"])
    room: Annotated[str, "where this receiver stands"] = ""
    options: Annotated[
        dict[str, Any], "options per driver, such as {ble_badge = {badges = [...]}}: it then hears all addresses in one"
    ] = {}


class RulesSection(_Section):
    """The local rules."""

    on: Annotated[bool, "run the rules"] = True
    file: Annotated[str, "TOML with settings per site, group, person and device; empty: defaults"] = ""
    people_file: Annotated[str, "CSV: subject,tags,language,home; empty: none"] = ""


class UplinkSection(_Section):
    """A platform that gets the events."""

    name: Annotated[Name, "name of the uplink; its cursor is kept under it"]
    kind: Annotated[Literal["mqtt", "webhook", "file"], "how events travel"] = "mqtt"
    host: Annotated[str, "mqtt: broker of the platform"] = ""
    port: Annotated[Port, "mqtt: its port"] = 1883
    version: Annotated[Literal["3.1.1", "5"], "mqtt: protocol"] = "5"
    user: Annotated[str, "user"] = ""
    password_file: Annotated[str, "file with the password, mode 600"] = ""
    ca_file: Annotated[str, "CA certificates; `system`: those of the machine; empty: no TLS"] = ""
    cert_file: Annotated[str, "client certificate (mTLS)"] = ""
    key_file: Annotated[str, "client key (mTLS)"] = ""
    keepalive_s: Annotated[int, Meta(ge=5, le=600), "mqtt: a dead link is noticed after twice this at the latest"] = 12
    url: Annotated[str, "webhook: https://..."] = ""
    secret_file: Annotated[str, "webhook: key of the HMAC signature"] = ""
    path: Annotated[str, "file: JSON lines are appended here"] = ""
    rotate_mb: Annotated[Positive, "file: size at which it is rotated"] = 100.0
    keep_files: Annotated[int, Meta(ge=1), "file: rotated files that are kept"] = 100
    lanes: Annotated[list[Literal["alarm", "state", "telemetry"]], "lanes that are sent"] = msgspec.field(
        default_factory=lambda: ["alarm", "state", "telemetry"]
    )
    kinds: Annotated[list[str], "only these occurrence kinds and quantities; empty: all"] = []
    subjects: Annotated[list[str], "only these residents or places; empty: all"] = []
    ack: Annotated[Literal["puback", "application"], "when an event counts as delivered"] = "puback"
    alarm_ack_s: Annotated[Positive, "an alarm that the platform has not acknowledged by then takes the next path (rules)"] = 5.0
    commands: Annotated[list[str], "verbs that this platform may ask for; `*`: all but dangerous ones"] = msgspec.field(
        default_factory=lambda: ["*"]
    )
    dangerous: Annotated[list[str], "dangerous verbs that it may ask for all the same"] = []
    assigns: Annotated[bool, "mqtt: it may assign devices to residents and places (registry/desired)"] = False


class Settings(_Section):
    """The whole file."""

    gateway: GatewaySection = msgspec.field(default_factory=GatewaySection)
    devices: DevicesSection = msgspec.field(default_factory=DevicesSection)
    store: StoreSection = msgspec.field(default_factory=StoreSection)
    mqtt: MqttSection = msgspec.field(default_factory=MqttSection)
    subscribe: list[SubscribeSection] = []
    listen: list[ListenSection] = []
    serial: list[SerialSection] = []
    ble: list[BleSection] = []
    uplink: list[UplinkSection] = []
    rules: RulesSection = msgspec.field(default_factory=RulesSection)
    base: str = ""
    """Folder of the settings file; relative paths start there."""

    def path(self, text: str) -> Path:
        """A path of the file, relative ones from the file's own folder."""
        return Path(self.base) / text


def load(path: Path) -> Settings:
    """Read and check. Raises SettingsError with every fault."""
    values, lines = toml_lines.load(path)
    settings = parse(values, lines, str(path))
    settings.base = str(path.resolve().parent)
    return settings


def parse(values: dict[str, Any], lines: dict[toml_lines.Path_, int], name: str) -> Settings:
    """Settings from parsed TOML. Raises SettingsError with every fault."""
    faults: list[Fault] = []
    built = _build(Settings, values, (), lambda path, text: faults.append(Fault(name, toml_lines.line_of(lines, path), text)))
    if faults:
        raise SettingsError(sorted(faults, key=lambda fault: fault.line))
    assert isinstance(built, Settings)
    return built


def _build(kind: Any, values: Any, path: toml_lines.Path_, fault: Any) -> Any:
    """One struct; every fault below it is reported and the walk goes on."""
    if not isinstance(values, dict):
        fault(path, f"{_dotted(path)}: expected a table, got {values!r}")
        return None
    hints = get_type_hints(kind, include_extras=True)
    known = {f.name: f for f in msgspec.structs.fields(kind) if f.name != "base"}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            fault((*path, key), f"{_dotted((*path, key))}: unknown key; {hint}")
    given: dict[str, Any] = {}
    for key, field in known.items():
        if key in values:
            given[key] = _value(hints[key], values[key], (*path, key), fault)
        elif field.required:
            fault(path, f"{_dotted((*path, key))}: missing ({help_of(kind, key)})")
            given[key] = None
    try:
        return kind(**given)
    except TypeError:
        return None


def _value(hint: Any, value: Any, path: toml_lines.Path_, fault: Any) -> Any:
    plain = _strip_help(hint)
    if isinstance(plain, type) and issubclass(plain, _Section):
        return _build(plain, value, path, fault)
    if get_origin(plain) is list and isinstance(get_args(plain)[0], type) and issubclass(get_args(plain)[0], _Section):
        if not isinstance(value, list):
            fault(path, f"{_dotted(path)}: expected [[{path[-1]}]] (a list of tables), got a table")
            return []
        return [_build(get_args(plain)[0], item, (*path, index), fault) for index, item in enumerate(value)]
    try:
        return msgspec.convert(value, plain, strict=not (plain is float and isinstance(value, int)))
    except msgspec.ValidationError as error:
        text = str(error).removesuffix(" - at `$`")
        if text.startswith("Invalid enum value"):
            text = f"expected {type_name(hint)}"
        fault(path, f"{_dotted(path)}: {text[0].lower()}{text[1:]}, got {value!r}")
        return None


def _strip_help(hint: Any) -> Any:
    """The type without the help text that stands in its Annotated."""
    if get_origin(hint) is not Annotated:
        return hint
    base, *extras = get_args(hint)
    metas = [extra for extra in extras if isinstance(extra, Meta)]
    return Annotated[(base, *metas)] if metas else base


def help_of(kind: type[msgspec.Struct], field: str) -> str:
    """The help text of a key."""
    hint = get_type_hints(kind, include_extras=True)[field]
    if get_origin(hint) is not Annotated:
        return (kind.__doc__ or "").strip()
    return next((extra for extra in get_args(hint)[1:] if isinstance(extra, str)), "")


def type_name(hint: Any) -> str:
    """A type as an installer reads it."""
    plain = _strip_help(hint)
    if get_origin(plain) is Annotated:
        plain = get_args(plain)[0]
    if get_origin(plain) is Literal:
        return " | ".join(map(str, get_args(plain)))
    if get_origin(plain) in (Union, types.UnionType):
        return " | ".join(type_name(arg) for arg in get_args(plain))
    if get_origin(plain) is list:
        return f"list of {type_name(get_args(plain)[0])}"
    return {"str": "text", "int": "number", "float": "number", "bool": "true | false"}.get(getattr(plain, "__name__", ""), "table")


def _dotted(path: toml_lines.Path_) -> str:
    return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
