"""What the rules may know of devices and residents, out of the inventory and the people file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from gateway.errors import Fault, SettingsError
from gateway.inventory import Inventory
from gateway.rules.contract import DeviceFacts, PersonFacts
from gateway.rules.directory import HouseholdDirectory

PEOPLE_COLUMNS = ("subject", "tags", "language", "home")
ROLES = {
    "settop": "tv",
    "kodi": "tv",
    "watch": "wristband",
    "trv": "wristband",
    "wristband": "wristband",
    "h02": "wristband",
    "jt808": "wristband",
    "minifinder": "pendant",
    "minifinder2": "pendant",
    "gt06": "pendant",
    "topin": "pendant",
    "eelink": "pendant",
    "xexun2": "pendant",
    "micradar": "radar",
    "tinyframe": "radar",
    "ld2410": "radar",
    "ld2450": "radar",
    "gsm_phone": "modem",
}
"""What a device stands for where the inventory does not say."""


def read_people(path: Path) -> dict[str, PersonFacts]:
    """Residents by pseudonym; tags are separated by blanks. Raises SettingsError with every fault."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_text("utf-8-sig")))
        rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError([Fault(str(path), 0, f"cannot be read: {error}")], hint=f"CSV with {','.join(PEOPLE_COLUMNS)}") from None
    unknown = [column for column in reader.fieldnames or [] if column not in PEOPLE_COLUMNS]
    if "subject" not in (reader.fieldnames or []) or unknown:
        raise SettingsError([Fault(str(path), 1, f"first line: expected {','.join(PEOPLE_COLUMNS)}, got {reader.fieldnames}")])
    faults = []
    people = {}
    for line, row in enumerate(rows, 2):
        language = row.get("language") or "zh"
        if language not in ("zh", "en"):
            faults.append(Fault(str(path), line, f"language: zh or en expected, got {language!r}"))
        people[row["subject"]] = PersonFacts(tuple((row.get("tags") or "").split()), language, row.get("home") or None)
    if faults:
        raise SettingsError(faults)
    return people


def directory_of(inventory: Inventory, people: dict[str, PersonFacts]) -> HouseholdDirectory:
    """The directory of the rules."""
    return HouseholdDirectory(*tables_of(inventory, people))


def tables_of(inventory: Inventory, people: dict[str, PersonFacts]) -> tuple[dict[str, DeviceFacts], dict[str, PersonFacts]]:
    """Facts by device and by resident."""
    devices = {
        row.device: DeviceFacts(row.subject or None, row.place or None, row.power, row.interval_s, row.role or ROLES.get(row.driver, ""))
        for row in inventory.all()
    }
    known = dict(people)
    for row in inventory.all():
        if row.subject and row.subject not in known:
            known[row.subject] = PersonFacts()
    return devices, known
