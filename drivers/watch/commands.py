"""What each verb says to a watch. Source: "Beesure GPS SeTracker Server Protocol" (4P-Touch), part II and chapters III to VII."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from drivers.api import Command, Verb

_NUMBER = re.compile(r"\+?[0-9*#]{1,20}").fullmatch
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)").fullmatch
_HOST = re.compile(r"[0-9A-Za-z.-]{1,64}").fullmatch
_DAYS = re.compile(r"[01]{7}").fullmatch

MAX_TEXT = 200
HEALTH_INTERVAL_S = 300
"""The shortest interval of automatic measurement."""

PARAMETERS = {
    "auto_answer": "ACALL", "app_lock": "APPLOCK", "apn": "APN", "center": "CENTER", "low_battery_sms": "LOWBAT",
    "password": "PW", "profile": "profile", "refuse_strangers": "DEVREFUSEPHONESWITCH", "remove_alarm": "REMOVE",
    "remove_sms": "REMOVESMS", "silence": "SILENCETIME", "silence_week": "SILENCETIME2", "sleep_time": "SLEEPTIME",
    "sos_sms": "SOSSMS", "walk_time": "WALKTIME",
}  # fmt: skip
"""Names that `configure` takes, and the watch's own."""

UNREPEATED = frozenset({"CALL", "MONITOR", "MESSAGE", "TAKEPILLS", "RESET", "POWEROFF", "FACTORY", "TK"})
"""Kinds that must not be said twice: a person would be rung, or the watch restarted, again."""

ANSWER_KINDS = UNREPEATED | frozenset(
    {"CR", "UPLOAD", "SOS", "SOS1", "SOS2", "SOS3", "CENTER", "FIND", "FALLDOWN", "LSSET", "HRTSTART", "HEALTHAUTOSET", "BODYTEMP",
     "BODYTEMP2", "REMIND", "PHB", "PHB2", "PHBX", "PHBX2", "WHITELIST1", "WHITELIST2", "LZ", "VERNO", "TS", "REMOVE", "RCAPTURE",
     "WIFISEARCH", "WIFISET", "WIFIDEL", "WIFICUR", "FLOWER", "PW", "ANY", "PPR", "SLAVE", "IP"}
) | frozenset(name.upper() for name in PARAMETERS.values())  # fmt: skip
"""Kinds by which a watch answers a command."""


class BadArgumentError(ValueError):
    """An argument that the watch cannot be told; the text says what was expected."""


class Spoken(NamedTuple):
    """What to send: kind and body of each frame; the first one's answer counts."""

    kind: str
    body: bytes = b""
    more: tuple[tuple[str, bytes], ...] = ()
    is_answered: bool = True


def spoken(command: Command) -> Spoken:
    """The frames of a command. Raises BadArgumentError."""
    return _VERBS[command.verb](command.args)


def reminder_text(args: dict[str, Any]) -> str:
    """`HH:MM-1-n[-mask]`: n 1 once, 2 daily, 3 on the weekdays of the mask (Sunday first)."""
    time = _TIME(str(args.get("time") or ""))
    if time is None:
        raise BadArgumentError("time: HH:MM expected")
    days = str(args.get("days") or "daily")
    clock = f"{int(time[1]):02d}:{time[2]}"
    if days in ("once", "daily"):
        return f"{clock}-1-{1 if days == 'once' else 2}"
    if not _DAYS(days):
        raise BadArgumentError("days: once, daily or seven digits 0 and 1 from Sunday expected")
    return f"{clock}-1-3-{days}"


def pills(args: dict[str, Any]) -> Spoken:
    """TAKEPILLS: a medicine reminder with text and, where `audio` (base64) is given, a spoken one."""
    number = _whole(args, "number", 1, 3, 1)
    try:
        audio = base64.b64decode(str(args.get("audio") or ""), validate=True)
    except binascii.Error:
        raise BadArgumentError("audio: AMR as base64 expected") from None
    return Spoken("TAKEPILLS", f"{reminder_text(args)},{number},{_utf16(args.get('text'))},".encode() + audio)


def _utf16(text: Any) -> str:
    words = str(text or "")
    if not 1 <= len(words) <= MAX_TEXT:
        raise BadArgumentError(f"text: 1..{MAX_TEXT} characters expected, got {len(words)}")
    return words.encode("utf-16-be", "replace").hex().upper()


def _phone(value: Any) -> str:
    number = str(value)
    if not _NUMBER(number):
        raise BadArgumentError("number: digits expected")
    return number


def _whole(args: dict[str, Any], name: str, low: int, high: int, default: int | None = None) -> int:
    value = args.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadArgumentError(f"{name}: {low}..{high} expected, got {value!r}")
    return value


def _numbers(args: dict[str, Any], most: int) -> list[str]:
    numbers = [_phone(number) for number in args.get("numbers") or ()]
    if not 1 <= len(numbers) <= most:
        raise BadArgumentError(f"numbers: 1..{most} expected, got {len(numbers)}")
    return numbers


def _interval(args: dict[str, Any]) -> Spoken:
    return Spoken("UPLOAD", str(_whole(args, "seconds", 60, 65535)).encode())


def _sos(args: dict[str, Any]) -> Spoken:
    numbers = _numbers(args, 3)
    return Spoken("SOS", ",".join(numbers + [""] * (3 - len(numbers))).encode())


def _listen(args: dict[str, Any]) -> Spoken:
    if not str(args.get("consent") or "").strip():
        raise BadArgumentError("consent: name of the record that allows listening in expected")
    return Spoken("MONITOR", _phone(args.get("number")).encode())


def _fall(args: dict[str, Any]) -> Spoken:
    on, call = bool(args.get("on")), bool(args.get("call"))
    more: tuple[tuple[str, bytes], ...] = ()
    if args.get("sensitivity") is not None:
        more = (("LSSET", f"{_whole(args, 'sensitivity', 1, 6)}+6".encode()),)
    return Spoken("FALLDOWN", f"{int(on)},{int(call)}".encode(), more)


def _measure(args: dict[str, Any]) -> Spoken:
    quantity, interval = str(args.get("quantity")), args.get("interval_s")
    if quantity == "heart_rate" or (quantity in ("blood_pressure", "systolic", "diastolic", "spo2") and interval is None):
        # One run of the sensor gives heart rate and pressure together.
        seconds = 1 if interval is None else 0 if interval == 0 else _whole(args, "interval_s", HEALTH_INTERVAL_S, 65535)
        return Spoken("hrtstart", str(seconds).encode())
    if quantity in ("blood_pressure", "systolic", "diastolic", "spo2"):
        seconds = HEALTH_INTERVAL_S if interval == 0 else _whole(args, "interval_s", HEALTH_INTERVAL_S, 65535)
        return Spoken("HEALTHAUTOSET", f"1,{int(interval != 0)},{seconds}".encode())
    if quantity == "body_temperature":
        if interval is None:
            return Spoken("bodytemp2")
        hours = 0 if interval == 0 else _whole(args, "interval_s", 3600, 12 * 3600) // 3600
        return Spoken("bodytemp", f"{int(hours > 0)},{hours or 1}".encode())
    raise BadArgumentError("quantity: heart_rate, blood_pressure, spo2 or body_temperature expected")


def _phone_book(args: dict[str, Any]) -> Spoken:
    entries = args.get("entries") or []
    if not 1 <= len(entries) <= 10:
        raise BadArgumentError(f"entries: 1..10 expected, got {len(entries)}")
    pairs = [_pair(entry) for entry in entries]
    frames = [(name, ",".join(pairs[i : i + 5]).encode()) for name, i in (("PHB", 0), ("PHB2", 5)) if pairs[i : i + 5]]
    return Spoken(*frames[0], tuple(frames[1:]))


def _pair(entry: Any) -> str:
    """`number,name` of a [name, number] pair, a table with both, or a bare number."""
    if isinstance(entry, dict):
        name, number = entry.get("name"), entry.get("number")
    elif isinstance(entry, list | tuple) and len(entry) == 2:
        name, number = entry
    else:
        name = number = entry
    return f"{_phone(number)},{_utf16(str(name or number)[:10])}"


def _whitelist(args: dict[str, Any]) -> Spoken:
    numbers = _numbers(args, 10)
    frames = [(name, ",".join(numbers[i : i + 5]).encode()) for name, i in (("WHITELIST1", 0), ("WHITELIST2", 5)) if numbers[i : i + 5]]
    return Spoken(*frames[0], tuple(frames[1:]))


def _zone(args: dict[str, Any]) -> Spoken:
    hours = _whole(args, "offset_minutes", -720, 840) / 60
    return Spoken("LZ", f"{_whole(args, 'language', 0, 99, 1)},{hours:g}".encode())


def _message(args: dict[str, Any]) -> Spoken:
    title = args.get("title")
    return Spoken("MESSAGE", _utf16(f"{title}: {args.get('text')}" if title else args.get("text")).encode())


def _server(args: dict[str, Any]) -> Spoken:
    host = str(args.get("host") or "")
    if not _HOST(host):
        raise BadArgumentError("host: name or address expected")
    return Spoken("IP", f"{host},{_whole(args, 'port', 1, 65535)}".encode(), is_answered=False)


def _configure(args: dict[str, Any]) -> Spoken:
    kind = PARAMETERS.get(str(args.get("name")))
    if kind is None:
        raise BadArgumentError(f"name: one of {', '.join(PARAMETERS)} expected")
    return Spoken(kind, _plain(args.get("value")))


def _raw(args: dict[str, Any]) -> Spoken:
    kind, _, body = _plain(args.get("text")).decode().partition(",")
    return Spoken(kind, body.encode())


def _plain(value: Any) -> bytes:
    text = str(value or "")
    if not text or len(text) > 1024 or not text.isprintable() or set(text) & set("[]"):
        raise BadArgumentError("value: 1..1024 printable characters without brackets expected")
    return text.encode()


def _query(args: dict[str, Any]) -> Spoken:
    return Spoken("VERNO" if args.get("name") in ("version", "firmware", "VERNO") else "TS")


_VERBS: dict[Verb, Callable[[dict[str, Any]], Spoken]] = {
    Verb.LOCATE: lambda args: Spoken("CR"),
    Verb.RING: lambda args: Spoken("FIND"),
    Verb.MESSAGE: _message,
    Verb.REMIND: pills,
    Verb.CALL_BACK: lambda args: Spoken("CALL", _phone(args.get("number")).encode()),
    Verb.LISTEN_IN: _listen,
    Verb.SET_INTERVAL: _interval,
    Verb.SET_SOS_NUMBERS: _sos,
    Verb.SET_PHONE_BOOK: _phone_book,
    Verb.SET_WHITELIST: _whitelist,
    Verb.SET_TIME_ZONE: _zone,
    Verb.MEASURE: _measure,
    Verb.FALL_DETECTION: _fall,
    Verb.POWER_OFF: lambda args: Spoken("POWEROFF"),
    Verb.RESTART: lambda args: Spoken("RESET"),
    Verb.FACTORY_RESET: lambda args: Spoken("FACTORY"),
    Verb.SET_SERVER: _server,
    Verb.CONFIGURE: _configure,
    Verb.QUERY: _query,
    Verb.RAW_TEXT: _raw,
}
TAKEN = tuple(_VERBS)
"""The verbs that a watch takes."""
