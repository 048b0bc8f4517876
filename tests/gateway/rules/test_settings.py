"""Rule settings: inherited, explained, refused with all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.rules import all_rules
from gateway.rules.contract import DeviceFacts, PersonFacts
from gateway.rules.directory import HouseholdDirectory
from gateway.rules.settings import RuleSettings, RuleSettingsError, declared, read_tables, settings_table

DIRECTORY = HouseholdDirectory({"watch:1": DeviceFacts("p")}, {"p": PersonFacts(("frail", "dementia"), "zh", "h")})
TEXT = """
[site.time]
zone = "Europe/Berlin"
[site.fall]
still_s = 20
[group.frail.fall]
still_s = 15
window_s = 60
[group.dementia.fall]
still_s = 12
[person.p.door]
return_min = 7
[person.h.door]
open_min = 3
[device."watch:1".supervision]
interval_s = 300
"""


def settings() -> RuleSettings:
    rules = all_rules()
    return RuleSettings(rules, DIRECTORY, read_tables(TEXT, rules))


def test_site_group_person_device_in_this_order() -> None:
    source = settings()
    fall = source.of("fall", "p")
    assert (fall["still_s"], fall["window_s"], fall["decide_s"], fall["zone"]) == (12, 60, 60, "Europe/Berlin")
    assert fall.shown(["still_s", "window_s", "decide_s"]) == {
        "still_s": "12 s (group dementia)",
        "window_s": "60 s (group frail)",
        "decide_s": "60 s (default)",
    }
    assert source.of("door", "p")["return_min"] == 7 and source.of("door", "p")["open_min"] == 3
    assert source.of("supervision", "watch:1")["interval_s"] == 300 and source.of("fall", "stranger")["still_s"] == 20


def test_new_tables_are_in_force_at_once() -> None:
    source = settings()
    assert source.of("fall", "p")["still_s"] == 12
    source.replace({})
    assert source.of("fall", "p")["still_s"] == 30


FAULTY = """[sites.fall]
x = 1
[site.fal]
still_s = 20
[site.fall]
stil_s = 20
still_s = 900
ask = "yes"
[site]
door = 3
[person.p.time]
zone = "Asia/Shangai"
[person.p.ladder]
guardian_1 = 5
[[person.p.medication.plan]]
name = "a"
at = "8h"
"""


def test_all_faults_are_told_at_once_with_line_and_hint() -> None:
    with pytest.raises(RuleSettingsError) as caught:
        read_tables(FAULTY, all_rules(), file="r.toml")
    assert caught.value.faults == [
        "r.toml:1: sites: unknown section, did you mean site?",
        "r.toml:3: site.fal: unknown rule, did you mean fall?",
        "r.toml:6: site.fall.stil_s: unknown setting, did you mean still_s?",
        "r.toml:7: site.fall.still_s: expected 10..60 s, got 900",
        "r.toml:8: site.fall.ask: expected `bool`, got `str`",
        "r.toml:10: site.door: table expected, got 3",
        "r.toml:12: person.p.time.zone: expected a time zone such as Asia/Shanghai, got 'Asia/Shangai'",
        "r.toml:14: person.p.ladder.guardian_1: expected `str`, got `int`",
        "r.toml:15: person.p.medication.plan: expected HH:MM in `at`, got [{'name': 'a', 'at': '8h'}]",
    ]


def test_text_that_is_no_toml_is_one_fault_with_its_line() -> None:
    with pytest.raises(RuleSettingsError) as caught:
        read_tables("[site.fall]\nstill_s = = 3\n", all_rules(), file="r.toml")
    assert caught.value.faults[0].startswith("r.toml:2: ")


def test_every_setting_has_a_default_that_fits_itself_and_a_meaning() -> None:
    for rule, rows in declared(all_rules()).items():
        for row in rows.values():
            assert row.help, f"{rule}.{row.name}"
            assert row.check is None or row.check(row.default) is None, f"{rule}.{row.name}"
            assert row.low is None or row.low <= row.default <= row.high, f"{rule}.{row.name}"


def test_the_table_lists_every_setting_once() -> None:
    table = settings_table(all_rules())
    assert table.startswith("| setting |")
    for rule, rows in declared(all_rules()).items():
        assert all(table.count(f"`{rule}.{name}`") == 1 for name in rows)


def test_a_secret_is_never_shown() -> None:
    rules = all_rules()
    source = RuleSettings(rules, DIRECTORY, read_tables('[site.ladder]\nguardian_1 = "+861"', rules))
    assert source.of("ladder", "p").shown(["guardian_1"]) == {"guardian_1": "set (site)"}


def test_the_sample_settings_fit_and_show_every_form_of_fence() -> None:
    path = Path(__file__).resolve().parents[3] / "config" / "rules.example.toml"
    tables = read_tables(path.read_text("utf-8"), all_rules(), file=path.name)
    fences = tables["person", "r-0417"]["geofence"]["fence"] + tables["site", ""]["geofence"]["area"]
    assert {fence.shape for fence in fences} == {"circle", "polygon", "corridor"}
    assert {fence.kind for fence in fences} == {"safe", "forbidden", "allowed"}
