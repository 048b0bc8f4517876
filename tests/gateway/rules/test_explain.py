"""Golden texts: why a rule spoke, in two languages."""

from __future__ import annotations

from drivers.events import Event, Measurement, Occurrence
from drivers.vocabulary import OccurrenceKind, Quantity
from gateway.rules import all_rules
from gateway.rules.explain import DETAILS, NUMBERS, explain
from tests.gateway.rules.scene import Scene

GOLDEN = {
    ("12:00:00 watch:1 fall_suspected\n+30s .", "rule:fall"): (
        "Fall began: still afterwards. Rule fall confirmation: 1 sources, 30 s after the first sign. "
        "Settings: still_s = 30 s (default), window_s = 120 s (default). Based on 1 event.",
        "跌倒（开始）：之后一直静止。规则“跌倒确认”：1个来源，首个信号后30秒。"
        "设置：still_s = 30 s (default)，window_s = 120 s (default)。依据1条记录。",
    ),
    ("12:00:00 gas:1 gas_lel=12", "rule:environment"): (
        "Gas leak began, kitchen: gas:1. Rule gas, smoke, water, warmth: gas at 12 % of the explosive limit. "
        "Settings: gas_alarm_lel = 10 %[LEL] (default). Based on 1 event.",
        "燃气泄漏（开始），kitchen：gas:1。规则“燃气、烟雾、漏水与室温”：燃气浓度为爆炸下限的12%。"
        "设置：gas_alarm_lel = 10 %[LEL] (default)。依据1条记录。",
    ),
    ("12:00:00 pendant:1 sos", "rule:incident"): (
        "Incident began: opened: call for help. Rule incidents: 1 events so far. Based on 1 event.",
        "事件（开始）：新事件，紧急求助。规则“事件管理”：累计1条记录。依据1条记录。",
    ),
    ("10:00:00 pir:1 motion start\n14:00:00 .", "rule:inactivity"): (
        "No sign of activity began. Rule no sign of activity: quiet for 4.0 h, limit 4.0 h, 0 days of habit known. "
        "Settings: day_h = 4 h (default), habit_h = 2 h (default). Based on 1 event.",
        "长时间无活动迹象（开始）。规则“长时间无活动”：安静4.0小时，上限4.0小时，已学习0天习惯。"
        "设置：day_h = 4 h (default)，habit_h = 2 h (default)。依据1条记录。",
    ),
}


def test_golden_texts() -> None:
    for (script, device), (english, chinese) in GOLDEN.items():
        scene = Scene(all_rules())
        scene.play(script)
        event = next(event for event in scene.events if event.device == device)
        assert explain(event, "en") == english
        assert explain(event, "zh") == chinese


def test_what_no_rule_said_is_told_plainly() -> None:
    assert explain(Event(device="d", at_ms=0, body=Occurrence(kind=OccurrenceKind.SOS)), "en") == "Call for help."
    assert explain(Event(device="d", at_ms=0, body=Measurement(quantity=Quantity.SPO2, value=97))) == ""


def test_phrases_have_both_languages_and_one_place() -> None:
    for name, phrases in NUMBERS.items():
        assert all(phrase.count("{") == 1 for phrase in phrases), name
    assert all(DETAILS.values())


DAY = """
06:30:00 bed:1 bed_exit
06:35:00 pir:1 motion start
07:00:00 watch:1 heart_rate=120
07:02:00 watch:1 heart_rate=122
07:03:00 watch:1 spo2=88
07:05:00 watch:1 spo2=88
08:00:00 watch:1 battery=8
09:00:00 pir:2 motion start
09:45:00 pir:1 motion start
10:00:00 watch:1 removed start
11:00:00 gas:1 gas_lel=20
11:01:00 co:1 co=400
11:02:00 smoke:1 smoke start
11:02:30 smoke:2 smoke start
12:00:00 radar:1 fall start
12:00:20 watch:1 fall_suspected
13:00:00 door:1 door_open start
14:00:00 door:1 service_visit start person=b-7
14:20:00 door:1 service_visit end person=b-7
15:00:00 climate:1 temperature=12
23:00:00 door:1 door_open start
"""


def test_every_rule_event_of_a_busy_day_explains_itself_in_known_words() -> None:
    scene = Scene(all_rules())
    scene.play(DAY + "\n+6h .")
    assert len({event.device for event in scene.events}) >= 9 and not scene.engine.faults
    for event in scene.events:
        assert isinstance(event.body, Occurrence)
        why = event.body.explain
        assert why is not None and event.device == "rule:" + why.rule and event.cause, event
        assert set(why.numbers or {}) <= set(NUMBERS), event
        assert explain(event, "en").endswith(".") and explain(event, "zh").endswith("。")
