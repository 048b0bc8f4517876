"""Ademco Contact ID (SIA DC-05): one event as `QEEE GG ZZZ`, and the table of its event codes.

    1 101 01 007
    | |   |  +- zone, or user for openings and closings; 000 = none
    | |   +- group or partition; 00 = none
    | +- event code, three digits, classes below
    +- qualifier: 1 new event or opening, 3 restore or closing, 6 condition still present

Classes: 1xx alarms, 2xx supervisory, 3xx trouble, 4xx open/close and access, 5xx bypass and disable, 6xx test and miscellaneous.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocols.errors import LocalProtocolError, Reason, RemoteProtocolError

NEW, RESTORE, STATUS = 1, 3, 6

# Some panels leave out the blanks, or write the zone with two or four digits; hex digits occur in zones of large panels.
_TEXT = re.compile(r"([136])\s?([0-9A-F]{3})\s?([0-9A-F]{2})\s?([0-9A-F]{2,4})(.*)\Z", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ContactId:
    """One event. `code`, `partition` and `zone` are digits as sent; `text` is what a panel appends behind them."""

    qualifier: int
    code: str
    partition: str = "00"
    zone: str = "000"
    text: str = ""


def decode(text: str) -> ContactId:
    """The event in `QEEE GG ZZZ`. Raises RemoteProtocolError (RANGE) on anything else.

    >>> decode("1101 01 007").zone
    '007'
    """
    found = _TEXT.match(text.strip())
    if found is None:
        raise RemoteProtocolError(Reason.RANGE, f"Contact ID 'QEEE GG ZZZ' expected, got {text[:40]!r}")
    qualifier, code, partition, zone, rest = found.groups()
    return ContactId(int(qualifier), code.upper(), partition.upper(), zone.upper(), rest.strip())


def encode(event: ContactId) -> str:
    """The text of an event. Raises LocalProtocolError where a field does not fit."""
    text = f"{event.qualifier}{event.code} {event.partition} {event.zone}"
    if _TEXT.fullmatch(text) is None:
        raise LocalProtocolError(f"Contact ID cannot say {text!r}")
    return text


NAMES: dict[str, str] = {
    "100": "medical", "101": "personal emergency", "102": "failed to report in",
    "110": "fire", "111": "smoke", "112": "combustion", "113": "sprinkler water flow", "114": "heat", "115": "pull station",
    "116": "duct", "117": "flame", "118": "fire near alarm",
    "120": "panic", "121": "duress", "122": "silent panic", "123": "audible panic", "124": "duress, access granted",
    "125": "duress, egress granted", "126": "hold-up suspicion", "129": "panic verified",
    "130": "burglary", "131": "perimeter", "132": "interior", "133": "24 hour zone", "134": "entry or exit", "135": "day or night zone",
    "136": "outdoor", "137": "tamper", "138": "burglary near alarm", "139": "intrusion verified",
    "140": "general alarm", "141": "polling loop open, alarm", "142": "polling loop short, alarm", "143": "expansion module failure",
    "144": "sensor tamper", "145": "expansion module tamper", "146": "silent burglary", "147": "sensor supervision failure",
    "150": "24 hour zone, no burglary", "151": "gas", "152": "refrigeration", "153": "loss of heat", "154": "water leakage",
    "155": "foil break", "156": "day trouble", "157": "low bottled gas", "158": "high temperature", "159": "low temperature",
    "161": "loss of air flow", "162": "carbon monoxide", "163": "tank level", "168": "high humidity", "169": "low humidity",
    "200": "fire supervisory", "201": "low water pressure", "202": "low CO2", "203": "gate valve", "204": "low water level",
    "205": "pump activated", "206": "pump failure",
    "300": "system trouble", "301": "AC loss", "302": "low system battery", "303": "RAM checksum", "304": "ROM checksum",
    "305": "system reset", "306": "programming changed", "307": "self-test failure", "308": "system shutdown",
    "309": "battery test failure",
    "310": "ground fault", "311": "battery missing or dead", "312": "power supply overcurrent", "313": "engineer reset",
    "314": "primary power supply failure", "315": "system trouble", "316": "system tamper", "317": "control panel tamper",
    "320": "sounder or relay", "321": "bell 1", "322": "bell 2", "323": "alarm relay", "324": "trouble relay", "325": "reversing relay",
    "326": "notification appliance 3", "327": "notification appliance 4",
    "330": "system peripheral", "331": "polling loop open", "332": "polling loop short", "333": "expansion module failure",
    "334": "repeater failure", "335": "printer out of paper", "336": "printer failure", "337": "expansion module DC loss",
    "338": "expansion module low battery", "339": "expansion module reset", "341": "expansion module tamper",
    "342": "expansion module AC loss", "343": "expansion module self-test failure", "344": "radio receiver jammed",
    "345": "AES encryption off",
    "350": "communication trouble", "351": "telephone line 1", "352": "telephone line 2", "353": "long range radio",
    "354": "failure to communicate", "355": "loss of radio supervision", "356": "loss of central polling", "357": "radio antenna fault",
    "358": "periodic communication test failed", "359": "network supervision failed", "360": "new registration",
    "370": "protection loop", "371": "protection loop open", "372": "protection loop short", "373": "fire loop trouble",
    "374": "exit error",
    "375": "panic zone trouble", "376": "hold-up zone trouble", "377": "swinger trouble", "378": "cross zone trouble",
    "380": "sensor trouble", "381": "loss of sensor supervision", "382": "loss of module supervision", "383": "sensor tamper",
    "384": "sensor low battery", "385": "smoke detector too sensitive", "386": "smoke detector not sensitive enough",
    "387": "intrusion detector too sensitive", "388": "intrusion detector not sensitive enough", "389": "sensor self-test failure",
    "391": "sensor watch failure", "392": "drift compensation error", "393": "maintenance alert", "394": "CO detector needs replacement",
    "400": "open or close", "401": "open or close by user", "402": "group open or close", "403": "automatic open or close",
    "404": "late open or close", "405": "deferred open or close", "406": "cancel", "407": "remote arm or disarm", "408": "quick arm",
    "409": "keyswitch open or close", "411": "callback request", "412": "download done", "413": "access refused", "414": "system shutdown",
    "415": "dialler shutdown", "416": "upload done", "421": "access denied", "422": "access by user", "423": "forced access",
    "424": "egress denied", "425": "egress granted", "426": "door propped open", "427": "door status monitor trouble",
    "428": "request to exit trouble", "429": "access program mode entered", "430": "access program mode left",
    "431": "access threat level", "432": "access relay trouble", "433": "request to exit shunted", "434": "door monitor shunted",
    "441": "armed stay", "442": "keyswitch armed stay", "450": "exceptional open or close", "451": "early open or close",
    "452": "late open or close", "453": "failed to open", "454": "failed to close", "455": "auto-arm failed", "456": "partial arm",
    "457": "exit error", "458": "user on premises", "459": "recent closing", "461": "wrong code entered", "462": "legal code entered",
    "463": "re-armed after alarm", "464": "auto-arm time extended", "465": "panic alarm reset", "466": "service on or off premises",
    "501": "access reader disabled", "520": "sounder or relay disabled", "521": "bell 1 disabled", "522": "bell 2 disabled",
    "523": "alarm relay disabled", "524": "trouble relay disabled", "525": "reversing relay disabled", "531": "module added",
    "532": "module removed", "551": "dialler disabled", "552": "radio transmitter disabled", "553": "remote up or download disabled",
    "570": "zone bypassed", "571": "fire zone bypassed", "572": "24 hour zone bypassed", "573": "burglary zone bypassed",
    "574": "group bypassed", "575": "swinger bypassed", "576": "access zone shunted", "577": "access point bypassed",
    "601": "manual test", "602": "periodic test", "603": "periodic radio test", "604": "fire test", "605": "status report follows",
    "606": "listen-in follows", "607": "walk test", "608": "periodic test, trouble present", "609": "video transmitter active",
    "611": "point tested", "612": "point not tested", "613": "intrusion zone walk tested", "614": "fire zone walk tested",
    "615": "panic zone walk tested", "616": "service request", "621": "event log reset", "622": "event log half full",
    "623": "event log 90 % full", "624": "event log overflow", "625": "time reset", "626": "time inaccurate", "627": "program mode entered",
    "628": "program mode left", "629": "32 hour event log marker", "630": "schedule changed", "631": "exception schedule changed",
    "632": "access schedule changed", "641": "senior watch trouble", "642": "latch-key supervision", "654": "system inactivity",
    "900": "download abort", "910": "vendor information",
}  # fmt: skip
"""English names of the DC-05 event codes."""
