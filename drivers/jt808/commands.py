"""Commands of a care centre as JT/T 808 messages."""

from __future__ import annotations

from typing import Any

from drivers.api import Command, Verb
from protocols.errors import LocalProtocolError
from protocols.tracker import jt808
from protocols.tracker import jt808_bodies as bodies

VERBS_TAKEN = (
    Verb.LOCATE, Verb.LIVE_MODE, Verb.SET_INTERVAL, Verb.MESSAGE, Verb.CALL_BACK, Verb.DIAL, Verb.LISTEN_IN, Verb.SET_PHONE_BOOK,
    Verb.FENCE, Verb.POWER_OFF, Verb.RESTART, Verb.FACTORY_RESET, Verb.SET_SERVER, Verb.CONFIGURE, Verb.QUERY, Verb.SILENCE,
    Verb.SET_SOS_NUMBERS, Verb.RAW_TEXT,
)  # fmt: skip

PARAMETERS = {
    "heartbeat_s": 0x0001, "apn": 0x0010, "server": 0x0013, "server_port": 0x0018, "sleep_interval_s": 0x0027, "sos_interval_s": 0x0028,
    "interval_s": 0x0029, "platform_phone": 0x0040, "restart_phone": 0x0041, "sos_phone": 0x0048, "alarm_mask": 0x0050,
    "overspeed_kmh": 0x0055, "odometer": 0x0080, "plate": 0x0083,
}  # fmt: skip
"""Parameter names that `configure` takes besides hexadecimal ids (JT/T 808 table 12)."""
_NAMES = {number: name for name, number in PARAMETERS.items()}
CONTROL_POWER_OFF, CONTROL_RESTART, CONTROL_FACTORY = 3, 4, 5


def parameter_name(number: int) -> str:
    """Name or hexadecimal id of a parameter."""
    return _NAMES.get(number, f"{number:04x}")


def downlink(command: Command, *, version: int | None, sos_parameter: int | None) -> list[tuple[int, bytes]]:
    """Message ids and bodies that carry out `command`, in order. Raises LocalProtocolError or ValueError saying what is wrong."""
    args = command.args
    match command.verb:
        case Verb.LOCATE:
            return [(jt808.LOCATE, b"")]
        case Verb.LIVE_MODE:
            return [(jt808.TRACK, bodies.write_track(_small(args.get("interval", 10)), int(args["seconds"])))]
        case Verb.SET_INTERVAL:
            values: dict[int, int | str] = {0x0029: int(args["seconds"])}
            if args.get("still_seconds"):
                values[0x0027] = int(args["still_seconds"])
            return [(jt808.SET_PARAMETERS, bodies.write_parameters(values))]
        case Verb.MESSAGE:
            return [(jt808.TEXT, bodies.write_text(str(args["text"]), speak=bool(args.get("voice")), version=version))]
        case Verb.RAW_TEXT:
            return [(jt808.TEXT, bodies.write_text(str(args["text"]), show=False, urgent=True, version=version))]
        case Verb.CALL_BACK | Verb.DIAL:
            return [(jt808.CALL_BACK, bodies.write_call_back(str(args["number"])))]
        case Verb.LISTEN_IN:
            return [(jt808.CALL_BACK, bodies.write_call_back(str(args["number"]), listen=True))]
        case Verb.SET_PHONE_BOOK:
            return [(jt808.PHONE_BOOK, bodies.write_phone_book(_entries(args["entries"])))]
        case Verb.FENCE:
            return [_fence(args)]
        case Verb.SILENCE:
            return [(jt808.CONFIRM_ALARM, b"\x00\x00" + (1).to_bytes(4, "big"))]
        case Verb.SET_SOS_NUMBERS:
            return [_sos_numbers(args["numbers"], sos_parameter)]
        case Verb.SET_SERVER:
            values = {0x0013: str(args["host"]), 0x0018: int(args["port"])}
            return [(jt808.SET_PARAMETERS, bodies.write_parameters(values))]
        case Verb.CONFIGURE:
            return [_configure(str(args["name"]), str(args["value"]))]
        case Verb.QUERY:
            return [_query(args.get("name"))]
    return [(jt808.CONTROL, bytes((_CONTROLS[command.verb],)))]


_CONTROLS = {Verb.POWER_OFF: CONTROL_POWER_OFF, Verb.RESTART: CONTROL_RESTART, Verb.FACTORY_RESET: CONTROL_FACTORY}


def _small(value: Any) -> int:
    number = int(value)
    if not 0 <= number <= 0xFFFF:
        raise LocalProtocolError(f"interval: 0..65535 s expected, got {number}")
    return number


def _entries(entries: Any) -> list[tuple[str, str]]:
    """Pairs of name and number; a bare number is its own name."""
    return [(str(e[0]), str(e[1])) if isinstance(e, list | tuple) else (str(e), str(e)) for e in entries]


def _fence(args: dict[str, Any]) -> tuple[int, bytes]:
    shape, number = str(args["shape"]), int(args.get("number", 1))
    numbers = {"circle": jt808.CIRCLE, "rectangle": jt808.RECTANGLE, "polygon": jt808.POLYGON}
    if shape not in numbers:
        raise LocalProtocolError(f"shape: circle, rectangle or polygon expected, got {shape!r}")
    if args.get("on") is False:
        return numbers[shape] + 1, bodies.write_fence_delete(number)
    points = [(float(p[0]), float(p[1])) for p in args["points"] if isinstance(p, list | tuple) and len(p) == 2]
    if any(not (-90 <= lat <= 90 and -180 <= lon <= 180) for lat, lon in points):
        raise LocalProtocolError("points: degrees (lat, lon) expected")
    if shape == "circle" and len(points) == 1:
        return jt808.CIRCLE, bodies.write_circle(number, *points[0], int(args.get("radius_m", 200)))
    if shape == "rectangle" and len(points) == 2:
        return jt808.RECTANGLE, bodies.write_rectangle(number, points[0], points[1])
    if shape == "polygon" and 3 <= len(points) <= 100:
        return jt808.POLYGON, bodies.write_polygon(number, points)
    raise LocalProtocolError(f"points: 1 for a circle, 2 for a rectangle, 3..100 for a polygon expected, got {len(points)}")


def _sos_numbers(numbers: list[Any], parameter: int | None) -> tuple[int, bytes]:
    if parameter is None:
        raise LocalProtocolError("SOS numbers are a vendor's parameter here: set option sos_parameter, or send the vendor's raw text")
    return jt808.SET_PARAMETERS, bodies.write_parameters({parameter: ",".join(map(str, numbers))})


def _number(name: str) -> int:
    number = PARAMETERS.get(name)
    return int(name, 16) if number is None else number


def _configure(name: str, value: str) -> tuple[int, bytes]:
    number = _number(name)
    typed: int | str = int(value) if value.isdecimal() and number not in {0x0010, 0x0013, 0x0040, 0x0041, 0x0048, 0x0083} else value
    return jt808.SET_PARAMETERS, bodies.write_parameters({number: typed})


def _query(name: Any) -> tuple[int, bytes]:
    if name is None:
        return jt808.QUERY_PARAMETERS, b""
    return jt808.QUERY_SOME_PARAMETERS, b"\x01" + _number(str(name)).to_bytes(4, "big")
