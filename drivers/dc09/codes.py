"""What the event codes of alarm panels mean to us: SIA DC-03 letters and Contact ID (DC-05) numbers.

A SIA code is a family letter and an action letter; the two tables below are multiplied, `_SPECIAL` holds what does not follow
the pattern. Source: ANSI/SIA DC-03-1990.01 (R2003.10) annex A, DC-05-1999.09 annex A, DC-07-2001.04.
"""

from __future__ import annotations

from typing import NamedTuple

from drivers.api import OccurrenceKind, State
from protocols.building import contact_id

_K = OccurrenceKind


class Meaning(NamedTuple):
    """What a code says. `kind` None: housekeeping of the panel, told as health and not as an occurrence."""

    kind: OccurrenceKind | None
    state: State
    text: str


_FAMILIES: dict[str, tuple[OccurrenceKind, str]] = {
    "B": (_K.BURGLARY, "burglary"),
    "F": (_K.FIRE, "fire"),
    "G": (_K.GAS, "gas"),
    "H": (_K.SOS, "hold-up"),
    "K": (_K.HEAT, "heat"),
    "M": (_K.MEDICAL, "medical"),
    "P": (_K.SOS, "panic"),
    "Q": (_K.SOS, "emergency"),
    "S": (_K.FIRE, "sprinkler"),
    "T": (_K.TAMPER, "tamper"),
    "U": (_K.GENERAL_ALARM, "untyped zone"),
    "W": (_K.WATER_LEAK, "water"),
    "Z": (_K.COLD, "freeze"),
}

# Action letter: kind (None = that of the family), state, word.
_ACTIONS: dict[str, tuple[OccurrenceKind | None, State, str]] = {
    "A": (None, State.START, "alarm"),
    "B": (_K.SHIELDED, State.START, "bypass"),
    "C": (None, State.END, "cancelled"),
    "G": (None, State.START, "alarm, unverified"),
    "H": (None, State.END, "alarm restored"),
    "J": (_K.FAULT, State.END, "trouble restored"),
    "M": (None, State.START, "alarm, cross point"),
    "R": (None, State.END, "restored"),
    "S": (_K.SUPERVISED, State.START, "supervisory"),
    "T": (_K.FAULT, State.START, "trouble"),
    "U": (_K.SHIELDED, State.END, "bypass ended"),
    "V": (None, State.START, "alarm verified"),
    "X": (_K.TEST, State.PULSE, "test"),
    "Y": (_K.OFFLINE, State.START, "missing, trouble"),
    "Z": (_K.OFFLINE, State.START, "missing"),
}

_START, _END, _PULSE = State.START, State.END, State.PULSE
_SPECIAL: dict[str, tuple[OccurrenceKind | None, State, str]] = {
    "AA": (_K.TAMPER, _START, "panel substituted"), "AB": (_K.GENERAL_ALARM, _END, "aborted by user"),
    "AN": (_K.FAULT, _END, "analogue fire sensor restored"), "AR": (_K.POWER_CUT, _END, "AC restored"),
    "AS": (_K.FAULT, _START, "analogue fire sensor needs service"), "AT": (_K.POWER_CUT, _START, "AC failed"),
    "BD": (_K.FAULT, _START, "swinger trouble"), "BE": (_K.FAULT, _END, "swinger trouble restored"),
    "BZ": (_K.OFFLINE, _START, "missing supervision"),
    "CA": (_K.ARMED, _START, "automatic closing"), "CD": (_K.ARMED, _END, "closing delinquent"), "CE": (None, _PULSE, "closing extended"),
    "CF": (_K.ARMED, _START, "forced closing"), "CG": (_K.ARMED, _START, "area closed"), "CI": (_K.ARMED, _END, "failed to close"),
    "CJ": (_K.ARMED, _START, "late close"), "CK": (_K.ARMED, _START, "early close"), "CL": (_K.ARMED, _START, "closing report"),
    "CM": (_K.GENERAL_ALARM, _START, "missing alarm, recent closing"), "CO": (None, _PULSE, "command sent"),
    "CP": (_K.ARMED, _START, "automatic closing"), "CQ": (_K.ARMED, _START, "remote closing"), "CR": (_K.ARMED, _START, "recent closing"),
    "CS": (_K.ARMED, _START, "closed by keyswitch"), "CT": (_K.ARMED, _END, "late to open"), "CW": (_K.ARMED, _START, "was force armed"),
    "CB": (_K.ARMED, _START, "group armed"), "CC": (_K.ARMED, _START, "armed"), "CX": (None, _PULSE, "custom function"),
    "CZ": (_K.ARMED, _START, "point closing"), "AF": (None, _PULSE, "scenario"),
    "DD": (None, _PULSE, "access denied"), "DF": (_K.BURGLARY, _START, "door forced"), "DG": (None, _PULSE, "access granted"),
    "DH": (_K.DOOR_LEFT_OPEN, _END, "door left open, restored"), "DJ": (_K.FAULT, _START, "door forced, trouble"),
    "DL": (_K.DOOR_LEFT_OPEN, _START, "door left open, alarm"), "DM": (_K.DOOR_LEFT_OPEN, _START, "door left open, trouble"),
    "DN": (_K.DOOR_OPEN, _START, "door left open"), "DR": (_K.DOOR_OPEN, _END, "door restored"),
    "DC": (_K.DOOR_OPEN, _END, "access closed"),
    "DO": (_K.DOOR_OPEN, _START, "access open"), "DS": (_K.BUTTON, _PULSE, "door station"), "DT": (_K.FAULT, _START, "access trouble"),
    "DY": (_K.DOOR_OPEN, _END, "door locked"),
    "EA": (_K.BURGLARY, _START, "exit alarm"), "EE": (_K.BURGLARY, _START, "exit error"),
    "EJ": (_K.TAMPER, _END, "expansion tamper restored"), "EM": (_K.OFFLINE, _START, "expansion device missing"),
    "EN": (_K.OFFLINE, _END, "expansion device back"), "ER": (_K.FAULT, _END, "expansion restored"),
    "ES": (_K.TAMPER, _START, "expansion device tamper"), "ET": (_K.FAULT, _START, "expansion trouble"),
    "EX": (_K.GENERAL_ALARM, _START, "external device condition"), "EZ": (_K.GENERAL_ALARM, _START, "missing alarm, exit error"),
    "FI": (_K.TEST, _START, "fire test begin"), "FK": (_K.TEST, _END, "fire test end"), "FL": (_K.SIREN, _END, "fire alarm silenced"),
    "FQ": (_K.FAULT, _END, "fire supervisory trouble restored"), "FV": (_K.SUPERVISED, _END, "fire supervision restored"),
    "FW": (_K.FAULT, _START, "fire supervisory trouble"),
    "IA": (_K.FAULT, _START, "equipment failure"), "IR": (_K.FAULT, _END, "equipment restored"),
    "JA": (_K.TAMPER, _START, "user code tamper"), "JC": (_K.TAMPER, _END, "user code tamper cancelled"),
    "JK": (_K.GENERAL_ALARM, _START, "latchkey alert"), "JP": (None, _PULSE, "user on premises"),
    "LR": (_K.NETWORK_LOST, _END, "phone line restored"), "LT": (_K.NETWORK_LOST, _START, "phone line trouble"),
    "MI": (None, _PULSE, "message"), "MV": (_K.MEDICAL, _START, "medical alarm verified"),
    "NA": (_K.INACTIVITY, _START, "no activity"), "NS": (_K.INACTIVITY, _END, "activity resumed"),
    "NC": (_K.FAULT, _START, "network condition"), "NR": (_K.NETWORK_LOST, _END, "network restored"),
    "NT": (_K.NETWORK_LOST, _START, "network failure"), "NF": (_K.ARMED, _START, "forced perimeter arm"),
    "NL": (_K.ARMED, _START, "perimeter armed"), "NM": (_K.ARMED, _START, "perimeter armed, user defined"),
    "NB": (_K.ARMED, _START, "armed"), "ND": (_K.ARMED, _END, "disarmed"), "NE": (_K.ARMED, _START, "armed"),
    "NO": (_K.ARMED, _END, "disarmed"), "NP": (_K.ARMED, _START, "armed"),
    "OA": (_K.ARMED, _END, "automatic opening"), "OB": (_K.ARMED, _END, "group disarmed"), "OC": (_K.GENERAL_ALARM, _END, "cancel report"),
    "OG": (_K.ARMED, _END, "area opened"), "OH": (_K.ARMED, _END, "early to open from alarm"), "OI": (_K.ARMED, _START, "failed to open"),
    "OJ": (_K.ARMED, _END, "late open"), "OK": (_K.ARMED, _END, "early open"), "OL": (_K.ARMED, _END, "late to open from alarm"),
    "OP": (_K.ARMED, _END, "opening report"), "OQ": (_K.ARMED, _END, "remote opening"), "OR": (_K.ARMED, _END, "disarmed from alarm"),
    "OS": (_K.ARMED, _END, "opened by keyswitch"), "OT": (_K.ARMED, _END, "late to close"), "OU": (_K.FAULT, _START, "output trouble"),
    "OV": (_K.FAULT, _END, "output restored"), "OZ": (_K.ARMED, _END, "point opening"),
    "PF": (_K.FAULT, _START, "malfunction"), "PO": (_K.FAULT, _END, "malfunction restored"), "PC": (None, _PULSE, "photo on demand on"),
    "PD": (None, _PULSE, "photo on demand off"), "PE": (None, _PULSE, "photo by scenario on"),
    "PG": (None, _PULSE, "photo by scenario off"),
    "RC": (None, _PULSE, "relay closed"), "RO": (None, _PULSE, "relay opened"), "RN": (_K.DEVICE_RESET, _PULSE, "remote reset"),
    "RP": (_K.TEST, _PULSE, "automatic test"), "RR": (_K.POWER_ON, _PULSE, "power up"), "RT": (_K.FAULT, _START, "data lost"),
    "RX": (_K.TEST, _PULSE, "manual test"), "RY": (_K.TEST, _PULSE, "test, off normal"),
    "SC": (None, _PULSE, "change of state"), "SM": (_K.FAULT, _START, "malfunction"),
    "TC": (_K.TEST, _PULSE, "all points tested"), "TE": (_K.TEST, _END, "test end"), "TP": (_K.TEST, _PULSE, "walk test point"),
    "TS": (_K.TEST, _START, "test start"), "TX": (_K.TEST, _PULSE, "test report"), "TW": (_K.TEST, _START, "area watch start"),
    "TZ": (_K.TEST, _END, "area watch end"),
    "VO": (_K.FAULT, _START, "printer paper out"), "VT": (_K.FAULT, _START, "printer trouble"), "VR": (_K.FAULT, _END, "printer restored"),
    "VI": (_K.FAULT, _END, "printer paper in"), "VX": (_K.TEST, _PULSE, "printer test"), "VZ": (None, _PULSE, "printer offline"),
    "VY": (None, _PULSE, "printer online"),
    "XC": (_K.FAULT, _END, "malfunction restored"), "XH": (_K.FAULT, _END, "radio interference ended"),
    "XI": (_K.DEVICE_RESET, _PULSE, "sensor reset"), "XJ": (_K.TAMPER, _END, "radio receiver tamper restored"),
    "XL": (_K.OFFLINE, _START, "sensor connection lost"), "XM": (_K.GENERAL_ALARM, _START, "missing alarm, cross point"),
    "XQ": (_K.FAULT, _START, "radio interference"), "XR": (_K.LOW_BATTERY, _END, "transmitter battery restored"),
    "XS": (_K.TAMPER, _START, "radio receiver tamper"), "XT": (_K.LOW_BATTERY, _START, "transmitter battery low"),
    "XW": (_K.SHIELDED, _START, "forced point"), "XX": (_K.FAULT, _START, "failed to test"), "XA": (None, _PULSE, "extra account report"),
    "XE": (None, _PULSE, "extra point"), "XF": (None, _PULSE, "extra radio point"), "XD": (_K.OFFLINE, _END, "sensor connection restored"),
    "YA": (_K.FAULT, _START, "bell fault"), "YH": (_K.FAULT, _END, "bell restored"),
    "YC": (_K.NETWORK_LOST, _START, "communication failed"),
    "YK": (_K.NETWORK_LOST, _END, "communication restored"), "YS": (_K.NETWORK_LOST, _START, "communication trouble"),
    "YD": (_K.FAULT, _START, "receiver line card trouble"), "YE": (_K.FAULT, _END, "receiver line card restored"),
    "YF": (_K.FAULT, _START, "parameter checksum failed"), "YI": (_K.FAULT, _START, "overcurrent"),
    "YJ": (_K.FAULT, _END, "overcurrent ended"),
    "YM": (_K.FAULT, _START, "system battery missing"), "YP": (_K.FAULT, _START, "power supply trouble"),
    "YQ": (_K.FAULT, _END, "power supply restored"), "YR": (_K.LOW_BATTERY, _END, "system battery restored"),
    "YT": (_K.LOW_BATTERY, _START, "system battery low"), "YU": (_K.FAULT, _START, "diagnostic error"),
    "YW": (_K.DEVICE_RESET, _PULSE, "watchdog reset"), "YX": (_K.FAULT, _START, "service required"),
    "YZ": (_K.FAULT, _END, "service completed"),
    "YY": (_K.TEST, _PULSE, "status report"), "YB": (None, _PULSE, "busy seconds"), "YG": (None, _PULSE, "parameter changed"),
    "YN": (_K.GENERAL_ALARM, _START, "invalid report"), "YO": (_K.GENERAL_ALARM, _START, "unknown message"),
    "ZY": (None, _PULSE, "common event"), "ZZ": (None, _PULSE, "common event"),
}  # fmt: skip
_HOUSEKEEPING = frozenset("CDEJLNORV")
"""Families whose other codes are logs of access, programming and schedules."""


def sia(code: str) -> Meaning:
    """Meaning of a two-letter code. An unknown one of an alarm family is a general alarm: better one too many than one lost.

    >>> sia("QA").kind.value, sia("GH").state.value
    ('sos', 'end')
    """
    special = _SPECIAL.get(code)
    if special is not None:
        return Meaning(*special)
    family, action = _FAMILIES.get(code[:1]), _ACTIONS.get(code[1:])
    if family is not None and action is not None:
        return Meaning(action[0] or family[0], action[1], f"{family[1]} {action[2]}")
    if family is None and code[:1] in _HOUSEKEEPING:
        return Meaning(None, State.PULSE, f"panel event {code}")
    return Meaning(_K.GENERAL_ALARM, State.START, f"unknown SIA code {code}")


def _kinds(kind: OccurrenceKind, codes: str) -> dict[str, OccurrenceKind]:
    return dict.fromkeys(codes.split(), kind)


_CID: dict[str, OccurrenceKind] = {
    **_kinds(_K.MEDICAL, "100"),
    **_kinds(_K.SOS, "101 120 121 122 123 124 125 126 129"),
    **_kinds(_K.WELFARE_MISSED, "102 641"),
    **_kinds(_K.FIRE, "110 112 113 115 117 118"),
    **_kinds(_K.SMOKE, "111 116"),
    **_kinds(_K.HEAT, "114 158"),
    **_kinds(_K.BURGLARY, "130 131 132 133 134 135 136 138 139 146 155 374 423 457"),
    **_kinds(_K.TAMPER, "137 144 145 316 317 341 383 461"),
    **_kinds(_K.GAS, "151"),
    **_kinds(_K.CO_ALARM, "162"),
    **_kinds(_K.COLD, "153 159"),
    **_kinds(_K.WATER_LEAK, "154"),
    **_kinds(_K.POWER_CUT, "301 314 342"),
    **_kinds(_K.LOW_BATTERY, "302 338 384"),
    **_kinds(_K.OFFLINE, "147 355 356 381 382"),
    **_kinds(_K.NETWORK_LOST, "350 351 352 353 354 357 358 359"),
    **_kinds(_K.DEVICE_RESET, "305 313 339"),
    **_kinds(_K.POWER_OFF, "308 414"),
    **_kinds(_K.DOOR_LEFT_OPEN, "426"),
    **_kinds(_K.GENERAL_ALARM, "140 150"),
    **_kinds(_K.TEST, "601 602 603 604 607 608 611 613 614 615"),
    **_kinds(_K.INACTIVITY, "654"),
    **_kinds(_K.FAULT, "141 142 143 152 156 157 161 163 168 169 427 428 432 612 626 642"),
}
_CID_CLASSES: dict[str, OccurrenceKind | None] = {
    "1": _K.GENERAL_ALARM, "2": _K.SUPERVISED, "3": _K.FAULT, "4": None, "5": _K.SHIELDED, "6": None, "7": None, "8": None, "9": None,
}  # fmt: skip
_OPENINGS = frozenset(["400", "401", "402", "403", "404", "405", "407", "408", "409", "441", "442", "450", "451", "452"])
_MOMENTARY = frozenset((_K.DEVICE_RESET, _K.TEST))


def cid(event: contact_id.ContactId) -> Meaning:
    """Meaning of a Contact ID event; qualifier 6 (still present) counts as new.

    >>> cid(contact_id.decode("3401 01 057"))[:2] == (OccurrenceKind.ARMED, State.START)
    True
    """
    name = contact_id.NAMES.get(event.code, f"unknown Contact ID code {event.code}")
    restored = event.qualifier == contact_id.RESTORE
    if event.code in _OPENINGS:
        return Meaning(_K.ARMED, State.START if restored else State.END, name + (", closed" if restored else ", opened"))
    if event.code in ("456", "463"):
        return Meaning(_K.ARMED, State.START, name)
    if event.code in ("406", "465"):
        return Meaning(_K.SOS if event.code == "465" else _K.GENERAL_ALARM, State.END, name)
    kind = _CID.get(event.code, _CID_CLASSES.get(event.code[:1], _K.GENERAL_ALARM))
    if kind is None:
        return Meaning(None, State.PULSE, name)
    if kind in _MOMENTARY:
        return Meaning(kind, State.PULSE, name)
    return Meaning(kind, State.END if restored else State.START, name + (" restored" if restored else ""))
