"""The ladder: parallel steps, acknowledged, climbing anew, across restarts and clock steps."""

from __future__ import annotations

from drivers.events import Event, Occurrence
from drivers.vocabulary import OccurrenceKind, State, Verb
from gateway.rules.contract import DeviceFacts, PersonFacts
from gateway.rules.incident import IncidentRule
from gateway.rules.ladder import LadderRule
from tests.gateway.rules.scene import ANNA, Scene, lines

SETTINGS = """
[site.ladder]
duty_lead = "+863"
centre_sms = "+869"
[person.r-0417.ladder]
guardian_1 = "+861"
guardian_2 = "+862"
label = "安娜"
"""
RULES = [IncidentRule(), LadderRule()]


def steps(said: list[str]) -> list[str]:
    """`HH:MM:SS step` of the ladder's events."""
    return [line.split()[0] + " " + line.partition("(")[2].rstrip(")") for line in said if " ladder_step " in line]


def test_a_call_for_help_climbs_to_the_emergency_service_that_nobody_dials() -> None:
    scene = Scene(RULES, SETTINGS)
    said = scene.play("12:00:00 pendant:1 sos\n12:05:00 .")
    assert steps(said) == lines("""
        12:00:00 local_sound
        12:00:00 local_screen
        12:00:00 call_back
        12:00:00 guardian_1
        12:00:00 centre
        12:01:00 guardian_2
        12:02:00 duty_lead
        12:03:00 centre decides on 120
    """)
    assert not [command for command in scene.commands if command.args.get("number") in ("120", "119", "110")]
    assert [command.args["number"] for command in scene.commands if command.verb is Verb.DIAL] == ["+862", "+863"]
    assert "安娜" in next(command.args["text"] for command in scene.commands if command.verb is Verb.SEND_SMS)


def test_the_emergency_service_is_dialled_where_somebody_answered_for_it() -> None:
    scene = Scene(RULES, SETTINGS + '[group.alone.ladder]\nauthorised_by = "contract 17, 2026-10-01"\n')
    said = scene.play("12:00:00 gas:1 gas start\n12:05:00 .")
    assert steps(said)[-1] == "12:03:00 119 called"
    assert scene.commands[-1].verb is Verb.DIAL and scene.commands[-1].args == {"number": "119"}


def test_an_acknowledgement_stops_the_climb_until_nobody_has_handled_it() -> None:
    scene = Scene(RULES, SETTINGS)
    scene.play("12:00:00 pendant:1 sos\n12:00:30 p ack")
    assert steps(scene.play("12:15:00 .")) == []
    assert steps(scene.play("12:16:00 ."))[0] == "12:15:30 local_sound"
    scene.play("12:16:10 p close")
    assert steps(scene.play("15:00:00 .")) == []
    assert scene.commands[-1].args == {"on": False}, "a person closed it: the siren may rest"


def test_nobody_answering_climbs_again_ever_more_rarely() -> None:
    scene = Scene(RULES, SETTINGS)
    rounds = [line[:8] for line in steps(scene.play("12:00:00 pendant:1 sos\n15:00:00 .")) if line.endswith("local_sound")]
    assert rounds == ["12:00:00", "12:13:00", "12:36:00", "13:19:00", "14:42:00"]


def test_a_second_press_takes_the_next_step_at_once() -> None:
    scene = Scene(RULES, SETTINGS)
    assert steps(scene.play("12:00:00 pendant:1 sos\n12:00:10 pendant:1 sos"))[-1] == "12:00:10 guardian_2"
    assert steps(scene.play("12:05:00 ."))[0] == "12:01:10 duty_lead"


def test_a_day_of_clock_step_neither_fires_nor_swallows_a_step() -> None:
    scene = Scene(RULES, SETTINGS)
    scene.play("12:00:00 pendant:1 sos\n+30s .\nclock +86400")
    assert steps(scene.play("+29s .")) == []
    assert steps(scene.play("+1s .")) == ["12:01:00 guardian_2"]
    scene.play("clock -172800")
    assert steps(scene.play("+59s .")) == []
    assert len(steps(scene.play("+1s ."))) == 1


def test_a_power_cut_during_the_climb_goes_on_where_it_was() -> None:
    scene = Scene(RULES, SETTINGS)
    scene.play("12:00:00 pendant:1 sos")
    scene.steady_ms += 600_000
    scene.restart()
    assert steps(scene.play("12:10:20 .")) == ["12:10:00 guardian_2", "12:10:05 duty_lead", "12:10:10 centre decides on 120"]


def test_a_raised_severity_tells_everybody_anew() -> None:
    scene = Scene(RULES, SETTINGS)
    assert steps(scene.play("12:00:00 watch:1 fall_suspected")) == []
    assert steps(scene.play("12:00:30 pendant:1 fall"))[0] == "12:00:30 local_sound"


def test_a_lost_person_is_searched_for() -> None:
    scene = Scene(RULES, SETTINGS, persons={ANNA: PersonFacts(("dementia",), "zh", "h-12")})
    said = scene.play("12:00:00 watch:1 geofence_exit start place=home\n12:10:00 watch:1 geofence_entry pulse place=home\n14:00:00 .")
    assert steps(said)[:3] == ["12:00:00 locate", "12:00:00 guardian_1", "12:00:00 centre"]
    assert "centre decides on 110" in steps(said)[-1]
    assert scene.commands[0].verb is Verb.LIVE_MODE


def test_a_centre_that_does_not_answer_gets_the_second_path_at_once() -> None:
    scene = Scene(RULES, SETTINGS)
    scene.play("12:00:00 pendant:1 sos\n12:00:05 .")
    body = Occurrence(kind=OccurrenceKind.UNDELIVERED, state=State.START, incident=scene.incident)
    scene.send([Event(device="gateway", at_ms=scene.now.ms, body=body, subject=ANNA)])
    assert scene.commands[-1].args["number"] == "+869"


def test_a_warning_does_not_climb() -> None:
    assert steps(Scene(RULES, SETTINGS).play("12:00:00 pir:1 tamper\n13:00:00 .")) == []


def test_an_unregistered_device_still_reaches_the_centre() -> None:
    scene = Scene(RULES, SETTINGS)
    assert "12:00:00 centre" in steps(scene.play("12:00:00 stranger:9 sos"))
    scene.play("12:00:30 stranger:10 sos\n12:00:40 p close")
    assert sum("incident start" in line for line in scene.said) == 2, "two devices without an owner are two matters"
    assert [line for line in scene.said if "closed" in line] == ["12:00:40 incident incident end emergency (closed: sos)"]


def test_every_step_has_its_own_id() -> None:
    scene = Scene(RULES, SETTINGS)
    scene.play("12:00:00 pendant:1 sos\n13:00:00 .")
    assert len({event.id for event in scene.events}) == len(scene.events)
    assert len({command.id for command in scene.commands}) == len(scene.commands)


def test_a_flat_battery_is_told_once() -> None:
    from gateway.rules.supervision import SupervisionRule

    scene = Scene([SupervisionRule(), *RULES], SETTINGS)
    assert steps(scene.play("23:00:00 watch:1 battery=4\n+12h .")) == ["23:00:00 centre", "23:00:00 guardian_1"]


def test_a_medical_emergency_by_numbers_climbs_like_a_call_for_help() -> None:
    from gateway.rules.vitals import VitalsRule

    scene = Scene([VitalsRule(), *RULES], SETTINGS)
    scene.play("12:00:00 watch:1 heart_rate=135\n12:00:10 watch:1 spo2=90\n12:00:20 watch:1 body_temperature=39")
    assert "12:00:20 local_sound" in steps(scene.said)


def answer(scene: Scene, status: str, *, verb: Verb | None = None, device: str | None = None) -> list[str]:
    """The devices answer every order that nobody has answered yet; what the ladder says to that."""
    begin, answered = len(scene.said), getattr(scene, "answered", 0)
    scene.answered = len(scene.commands)  # type: ignore[attr-defined]  # how far the devices of this scene have come
    for command in scene.commands[answered:]:
        if verb in (None, command.verb) and device in (None, command.device):
            scene.play(f"+0s {command.device} result={command.verb.value} {command.id} {status}")
    return scene.said[begin:]


def sent(said: list[str]) -> list[str]:
    """`HH:MM:SS verb device` of the ladder's commands."""
    return [" ".join([line.split()[0], *line.split()[3:5]]) for line in said if " ladder > " in line]


def test_a_message_that_failed_goes_out_again_and_then_the_next_guardian_is_told_at_once() -> None:
    scene = Scene(RULES, SETTINGS)
    scene.play("12:00:00 pendant:1 sos")
    assert answer(scene, "failed", verb=Verb.SEND_SMS) == []
    assert sent(scene.play("12:00:05 .")) == ["12:00:05 send_sms modem:1"]
    answer(scene, "expired")
    assert sent(scene.play("12:00:10 .")) == ["12:00:10 send_sms modem:1"]
    said = answer(scene, "failed")
    assert steps(said) == ["12:00:10 guardian_1 failed: send_sms", "12:00:10 guardian_2"]
    assert sent(said) == ["12:00:10 send_sms modem:1", "12:00:10 dial modem:1"]
    assert steps(scene.play("12:05:00 ."))[0] == "12:01:10 duty_lead"


def test_an_order_that_was_carried_out_is_not_repeated() -> None:
    scene = Scene(RULES, SETTINGS)
    scene.play("12:00:00 pendant:1 sos")
    assert answer(scene, "done") == [] and sent(scene.play("12:00:59 .")) == []


def test_a_silent_siren_is_told_but_hurries_nobody_while_the_guardian_is_being_told() -> None:
    scene = Scene(RULES, SETTINGS + "tries = 2\n")
    scene.play("12:00:00 pendant:1 sos")
    answer(scene, "failed", device="siren:1")
    assert sent(scene.play("12:00:05 .")) == ["12:00:05 siren siren:1"]
    assert steps(answer(scene, "failed")) == ["12:00:05 local_sound failed: siren"]
    assert steps(scene.play("12:01:00 .")) == ["12:01:00 guardian_2"]


def test_where_nothing_at_all_was_carried_out_the_climb_does_not_wait() -> None:
    scene = Scene(RULES, '[site.ladder]\nduty_lead = "+863"\ntries = 1\n')
    scene.play("12:00:00 pendant:1 sos")
    assert steps(answer(scene, "failed"))[1:] == ["12:00:00 local_screen failed: message", "12:00:00 duty_lead"]


def test_another_modem_takes_over_what_the_first_cannot_send() -> None:
    scene = Scene(RULES, SETTINGS, devices={"modem:2": DeviceFacts(None, None, "mains", role="modem")})
    scene.play("12:00:00 pendant:1 sos")
    answer(scene, "failed", device="modem:1")
    assert sent(scene.play("12:00:05 .")) == ["12:00:05 send_sms modem:2"]


def test_a_retry_survives_a_restart_and_ends_with_an_answer() -> None:
    scene = Scene(RULES, SETTINGS)
    scene.play("12:00:00 pendant:1 sos")
    answer(scene, "unknown", verb=Verb.SEND_SMS)
    scene.restart()
    assert sent(scene.play("12:00:05 .")) == ["12:00:05 send_sms modem:1"]
    answer(scene, "failed")
    scene.play("12:00:06 p ack")
    assert sent(scene.play("12:10:00 .")) == []


def test_the_answer_of_another_device_or_to_an_unknown_order_changes_nothing() -> None:
    scene = Scene(RULES, SETTINGS)
    scene.play("12:00:00 pendant:1 sos")
    command = next(command for command in scene.commands if command.verb is Verb.SEND_SMS)
    scene.play(f"+0s watch:1 result=send_sms {command.id} failed")
    scene.play(f"+0s modem:1 result=send_sms ladder-nothing.{ANNA} failed\n+0s modem:1 result=send_sms x failed")
    assert sent(scene.play("12:00:59 .")) == []
