"""The adapter to parser libraries: what is installed is used, what is odd costs one advertisement."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from drivers.api import Advert, Frame, Instant, Match, Measurement, OptionError, Reason, Transport
from drivers.ble_extras import parsers
from drivers.ble_extras.driver import BleExtras
from tests.shared import SHARED

MAC = "A4:C1:38:8D:18:B2"
LIBRARIES = {"Govee": "govee_ble", "Xiaomi": "xiaomi_ble", "ClearGrass/Qingping": "qingping_ble"}
"""Who reads what in the shared rows."""


def rows() -> list[Any]:
    """Rows whose library is installed here; the base install has xiaomi_ble."""
    path = SHARED / "vectors/sensor/ble_extras.jsonl"
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    known = [row for row in found if "tempc" in row["expect"] or "hum" in row["expect"]]
    here = [(row, LIBRARIES.get(row["expect"]["brand"], "")) for row in known if row["advert"].get("servicedatauuid") != "181a"]
    return [pytest.param(row, module, id=row["id"]) for row, module in here if module and importlib.util.find_spec(module)]


def heard(advert: Advert, at_s: float = 0.0, address: str = MAC) -> Frame:
    now = Instant(1795336215000 + round(at_s * 1000), 1000 + at_s)
    return Frame(data=b"", received=now, transport=Transport.BLE_ADVERT, address=address, advert=advert)


def advert_of(row: dict[str, Any]) -> Advert:
    told = row["advert"]
    if "servicedata" in told:
        uuid = f"0000{told['servicedatauuid']}-0000-1000-8000-00805f9b34fb"
        return Advert(service_data={uuid: bytes.fromhex(told["servicedata"])}, service_uuids=[uuid], name=told.get("name"))
    data = bytes.fromhex(told["manufacturerdata"])
    return Advert(manufacturer_data={int.from_bytes(data[:2], "little"): data[2:]}, name=told.get("name"))


@pytest.mark.parametrize(("row", "module"), rows())
def test_a_shared_row_reads_as_it_should(row: dict[str, Any], module: str) -> None:
    expect = row["expect"]
    address = expect.get("mac", MAC)
    events = BleExtras({"parsers": [module]}, None).receive(heard(advert_of(row), address=address)).events
    values = {event.body.quantity.value: event.body.value for event in events if isinstance(event.body, Measurement)}
    for key, quantity in (("tempc", "temperature"), ("hum", "humidity")):
        if key in expect:
            assert values[quantity] == pytest.approx(expect[key], abs=0.06)


def test_a_library_that_is_not_there_is_named_with_what_to_do() -> None:
    with pytest.raises(OptionError, match="no_such_ble is not installed: pip install no-such-ble"):
        BleExtras({"parsers": ["no_such_ble"]}, None)


@pytest.mark.parametrize("name", ["os", "json", "os.path", "../evil", "drivers.api", ""])
def test_not_every_module_is_a_parser(name: str) -> None:
    with pytest.raises(OptionError, match=r"parser|name of a module"):
        BleExtras({"parsers": [name]}, None)


ODD = """
from bluetooth_sensor_state_data import BluetoothData
from sensor_state_data import SensorLibrary

class OddData(BluetoothData):
    def _start_update(self, info):
        data = info.manufacturer_data[1]
        self.set_device_type("odd")
        if data == b"boom":
            raise KeyError(data)
        value = 4000 if data[0] == 255 else data[0]
        self.update_predefined_sensor(SensorLibrary.TEMPERATURE__CELSIUS, value)
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "odd_ble.py").write_text(ODD)
    monkeypatch.syspath_prepend(str(tmp_path))
    parsers.parser_class.cache_clear()
    return "odd_ble"


def test_a_parser_that_raises_costs_one_advertisement(odd: str) -> None:
    driver = BleExtras({"parsers": [odd]}, None)
    driver.receive(heard(Advert(manufacturer_data={1: b"\x14"})))
    broken = driver.receive(heard(Advert(manufacturer_data={1: b"boom"}), 1))
    assert [reject.reason for reject in broken.rejects] == [Reason.UNSUPPORTED]
    assert driver.receive(heard(Advert(manufacturer_data={1: b"\x15"}), 2)).events


def test_an_unchanged_value_is_told_again_each_minute_only(odd: str) -> None:
    driver = BleExtras({"parsers": [odd]}, None)
    counts = [len(driver.receive(heard(Advert(manufacturer_data={1: b"\x14"}), at_s)).events) for at_s in (0, 1, 30, 61, 62)]
    assert counts[0] >= 1
    assert counts[1:] == [0, 0, 1, 0]


def test_a_value_beyond_all_sense_is_refused(odd: str) -> None:
    output = BleExtras({"parsers": [odd]}, None).receive(heard(Advert(manufacturer_data={1: b"\xff"})))
    assert [reject.reason for reject in output.rejects] == [Reason.RANGE]


def test_libraries_with_drivers_of_our_own_are_left_out_unless_named() -> None:
    assert not set(parsers.installed()) & parsers.OUR_OWN
    uuid = "0000fcd2-0000-1000-8000-00805f9b34fb"
    assert BleExtras.match(heard(Advert(service_data={uuid: bytes.fromhex("40016102ca09")}))) is Match.NO
