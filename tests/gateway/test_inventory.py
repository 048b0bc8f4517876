from __future__ import annotations

import pytest

from gateway.errors import SettingsError
from gateway.inventory import Device, Inventory, parse

HEAD = "device,driver,subject,name,place,wire,options\n"


def test_a_row_gives_a_device_with_its_options() -> None:
    rows = parse(HEAD + 'watch:8800000015,watch,r-1,王阿姨,301,tcp,"{""utc_offset_minutes"": 480}"\n', "devices.csv")
    assert rows == [
        Device(
            device="watch:8800000015",
            driver="watch",
            subject="r-1",
            name="王阿姨",
            place="301",
            wire="tcp",
            options={"utc_offset_minutes": 480},
        )
    ]


def test_every_fault_is_told_with_its_line() -> None:
    text = (
        HEAD + "nocolon,watch,,,,,\nwatch:1,wach,,,,,\nwatch:2,watch,a b,,,,\nwatch:3,watch,,,,,{\nwatch:4,watch,,,,,\nwatch:4,watch,,,,,\n"
    )
    with pytest.raises(SettingsError) as caught:
        parse(text, "devices.csv")
    assert [fault.line for fault in caught.value.faults] == [2, 3, 4, 5, 7]
    assert "did you mean watch?" in caught.value.faults[1].text
    assert "stands already in line 6" in caught.value.faults[4].text


def test_an_unknown_option_of_a_driver_names_the_near_one() -> None:
    with pytest.raises(SettingsError, match="did you mean utc_offset_minutes"):
        parse(HEAD + 'watch:1,watch,,,,,"{""utc_offset_minute"": 1}"\n', "devices.csv")


def test_a_wrong_header_is_one_clear_fault() -> None:
    with pytest.raises(SettingsError, match="unknown"):
        parse("device,driver,colour\n", "devices.csv")


def test_strangers_are_found_only_where_any_is_accepted() -> None:
    assert Inventory([]).find("watch:1") is None
    assert Inventory([], accept_any=True).find("watch:1") is not None
    assert Inventory([], accept_any=True).find("watch:\n#") is None
