"""Which devices are ours, whose they are, and where they are: a CSV file that an installer can keep in a spreadsheet.

Columns: `device,driver,subject,name,place,wire,role,power,interval_s,options`; only the first two must be there.

- `device`: the id as events show it (`watch:8800000015`)
- `subject`: pseudonym of the resident or place (it travels upstream); `name`: a label for people on this box (it never leaves it)
- `role`: what the device stands for (tv, wristband, pendant, radar, valve, siren, fan, modem); default: that of its driver
- `power` (mains or battery) and `interval_s` (usual seconds between reports): for supervision
- `options`: JSON for the driver
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from drivers import registry
from drivers.api import DriverError, OptionError, read_options
from gateway.errors import Fault, SettingsError

COLUMNS = ("device", "driver", "subject", "name", "place", "wire", "role", "power", "interval_s", "options")
_DEVICE = re.compile(r"^[a-z0-9_]{1,32}:[A-Za-z0-9_.:/ -]{1,96}$")
_SUBJECT = re.compile(r"^[A-Za-z0-9_-]{0,64}$")


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One row."""

    device: str
    driver: str
    subject: str = ""
    name: str = ""
    place: str = ""
    wire: str = ""
    role: str = ""
    power: str = ""
    interval_s: float | None = None
    options: dict[str, Any] = {}


class Inventory:
    """The devices of this gateway."""

    def __init__(self, devices: list[Device] | None = None, *, accept_any: bool = False) -> None:
        self._devices = {device.device: device for device in devices or []}
        self.accept_any = accept_any
        self.on_stranger: Callable[[Device], bool] | None = None
        """Asked while a pairing window is open; True takes the stranger in."""
        self.subject_in: Callable[[str], str | None] | None = None
        """Who is at a place."""

    def __len__(self) -> int:
        return len(self._devices)

    def find(self, device: str) -> Device | None:
        """The row of a device id; with `accept_any` a row is made for a stranger."""
        found = self._devices.get(device)
        if found is not None or not (self.accept_any or self.on_stranger) or not _DEVICE.match(device):
            return found
        made = Device(device=device, driver=device.split(":", 1)[0])
        if self.on_stranger is not None and self.on_stranger(made):
            self._devices[device] = made
            return made
        return made if self.accept_any else None

    def row(self, device: str) -> Device | None:
        """The row of a device id, if there is one: nobody is taken in by being asked for."""
        return self._devices.get(device)

    def all(self) -> list[Device]:
        """Every row, in the order of the file."""
        return list(self._devices.values())

    def of_driver(self, driver: str) -> list[Device]:
        """The rows of one driver."""
        return [device for device in self._devices.values() if device.driver == driver]

    def subject_of(self, device: str) -> str | None:
        """Whose device it is; of one that is shared (option `nearby`), who is with it."""
        found = self._devices.get(device)
        if found is None:
            return None
        if found.options and found.options.get("nearby") and self.subject_in is not None:
            return self.subject_in(found.place) or found.subject or None
        return found.subject or None

    def replace(self, devices: list[Device]) -> None:
        """Take a newly read file."""
        self._devices = {device.device: device for device in devices}


def read(path: Path) -> list[Device]:
    """The rows of a file. Raises SettingsError with every fault."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise SettingsError([Fault(str(path), 0, "no such file")], hint="see config/devices.example.csv") from None
    except (OSError, UnicodeDecodeError) as error:
        hint = "save it as CSV, UTF-8"
        raise SettingsError([Fault(str(path), 0, f"cannot be read: {error}")], hint=hint) from None
    return parse(text, str(path))


def parse(text: str, name: str) -> list[Device]:
    """The rows of a text. Raises SettingsError with every fault."""
    reader = csv.DictReader(io.StringIO(text))
    faults: list[Fault] = []
    devices: list[Device] = []
    missing = [column for column in ("device", "driver") if column not in (reader.fieldnames or [])]
    unknown = [column for column in reader.fieldnames or [] if column not in COLUMNS]
    if missing or unknown:
        text = (
            f"first line: expected {','.join(COLUMNS)}"
            + (f"; missing {missing}" if missing else "")
            + (f"; unknown {unknown}" if unknown else "")
        )
        raise SettingsError([Fault(name, 1, text)])
    seen: dict[str, int] = {}
    try:
        for row in reader:
            device, wrong = _row(
                {key: (value or "").strip() for key, value in row.items() if isinstance(key, str) and not isinstance(value, list)}
            )
            if None in row:
                wrong.append("more values than columns")
            line = reader.line_num
            if device is not None and device.device in seen:
                wrong.append(f"device {device.device} stands already in line {seen[device.device]}")
            faults += [Fault(name, line, text) for text in wrong]
            if device is not None and not wrong:
                seen[device.device] = line
                devices.append(device)
    except csv.Error as error:
        faults.append(Fault(name, reader.line_num, f"not CSV: {error}"))
    if faults:
        raise SettingsError(faults)
    return devices


def _row(row: dict[str, str]) -> tuple[Device | None, list[str]]:
    wrong = []
    if not _DEVICE.match(row["device"]):
        wrong.append(f"device: expected driver:id, got {row['device']!r}")
    if not _SUBJECT.match(row.get("subject", "")):
        wrong.append(f"subject: expected letters, digits, _ or -, at most 64, got {row['subject']!r}")
    if row.get("power", "") not in ("", "mains", "battery"):
        wrong.append(f"power: mains or battery expected, got {row['power']!r}")
    interval: float | None = None
    try:
        interval = float(row["interval_s"]) if row.get("interval_s") else None
    except ValueError:
        wrong.append(f"interval_s: seconds expected, got {row['interval_s']!r}")
    options: dict[str, Any] = {}
    try:
        options = msgspec.json.decode(row["options"].encode(), type=dict[str, Any]) if row.get("options") else {}
    except msgspec.DecodeError as error:
        wrong.append(f"options: expected a JSON object, got {row['options']!r} ({error})")
    try:
        read_options(registry.load(row["driver"]).info, options)
    except OptionError as error:
        wrong += [f"options: {fault}" for fault in error.faults]
    except DriverError as error:
        wrong.append(f"driver: {error}")
    if wrong:
        return None, wrong
    return Device(**{**row, "options": options, "interval_s": interval}), wrong  # type: ignore[arg-type]  # only known columns are left
