"""Why a rule spoke, as a sentence for people: `explain(event, "zh")`."""

from __future__ import annotations

from drivers.events import Event, Explanation, Occurrence
from drivers.vocabulary import OCCURRENCES, OccurrenceKind, State
from gateway.rules import all_rules

NUMBERS: dict[str, tuple[str, str]] = {
    "accuracy_m": ("fix good to {:.0f} m", "定位误差约{:.0f}米"),
    "after_s": ("{:g} s after the first sign", "首个信号后{:g}秒"),
    "age_min": ("{:.0f} min old", "{:.0f}分钟前"),
    "battery_pct": ("battery at {:g} %", "电量{:g}%"),
    "beyond_m": ("{:.0f} m beyond the border", "越界{:.0f}米"),
    "body_temperature": ("body temperature {:.1f} °C", "体温{:.1f}℃"),
    "certainty_pct": ("{:.0f} % certain", "把握{:.0f}%"),
    "co_ppm": ("{:g} ppm carbon monoxide", "一氧化碳{:g}ppm"),
    "days": ("{:g} days agreed", "约定{:g}天"),
    "detectors": ("{:g} detectors", "{:g}个探测器报警"),
    "events": ("{:g} events so far", "累计{:g}条记录"),
    "exits": ("{:g} times out of bed", "离床{:g}次"),
    "gas_lel": ("gas at {:g} % of the explosive limit", "燃气浓度为爆炸下限的{:g}%"),
    "habit_days": ("{:g} days of habit known", "已学习{:g}天习惯"),
    "heart_rate": ("heart rate {:g}/min", "心率{:g}次/分"),
    "hours": ("for {:g} h", "持续{:g}小时"),
    "interval_s": ("usual interval {:g} s", "通常间隔{:g}秒"),
    "left_min": ("{:.0f} min left", "剩余{:.0f}分钟"),
    "limit_h": ("limit {:.1f} h", "上限{:.1f}小时"),
    "limit_min": ("limit {:g} min", "上限{:g}分钟"),
    "lost_pct": ("{:.0f} % of samples lost", "缺失{:.0f}%采样"),
    "net_m": ("{:.0f} m away from where it began", "距起点{:.0f}米"),
    "news2": ("NEWS2 total {:g}", "NEWS2总分{:g}"),
    "off_wrist_min": ("off the wrist for {:g} min", "脱腕{:g}分钟"),
    "openings": ("{:g} times within an hour", "一小时内{:g}次"),
    "out_min": ("out for {:.0f} min", "已离开{:.0f}分钟"),
    "path_m": ("{:.0f} m walked", "行走{:.0f}米"),
    "peak_g": ("impact of {:.1f} g", "冲击{:.1f}g"),
    "points": ("{:g} NEWS2 points", "NEWS2单项{:g}分"),
    "presence_age_s": ("last presence {:.0f} s earlier", "上次有人在{:.0f}秒前"),
    "quiet_h": ("quiet for {:.1f} h", "安静{:.1f}小时"),
    "respiration_rate": ("breathing {:g}/min", "呼吸{:g}次/分"),
    "reversals": ("{:g} reversals", "折返{:g}次"),
    "rooms": ("seen in {:g} places", "出现在{:g}处"),
    "round": ("round {:g}", "第{:g}轮"),
    "score_pct": ("score {:.0f} of 100", "评分{:.0f}（满分100）"),
    "silent_s": ("silent for {:.0f} s", "静默{:.0f}秒"),
    "sources": ("{:g} sources", "{:g}个来源"),
    "spo2": ("oxygen saturation {:g} %", "血氧{:g}%"),
    "stay_min": ("inside for {:.0f} min", "停留{:.0f}分钟"),
    "step": ("step {:g}", "第{:g}步"),
    "still_s": ("still for {:.0f} s", "静止{:.0f}秒"),
    "systolic": ("systolic pressure {:g} mmHg", "收缩压{:g}mmHg"),
    "temperature_c": ("{:.1f} °C", "{:.1f}℃"),
    "tries": ("{:g} tries", "尝试{:g}次"),
    "turns": ("{:.1f} full turns", "转圈{:.1f}次"),
    "usual_minute": ("usually up by minute {:g} of the day", "通常在当天第{:g}分钟前起床"),
    "visit_h": ("visit for {:.1f} h", "上门{:.1f}小时"),
    "visit_min": ("visit of {:.0f} min", "上门{:.0f}分钟"),
    "visits_30d": ("{:g} visits in 30 days", "30天内{:g}次上门"),
    "waited_min": ("waited {:.0f} min", "等待{:.0f}分钟"),
}
"""Name of a number -> phrase with its place, English and Chinese. A number without a row is shown by its name."""

DETAILS: dict[str, str] = {
    "accompanied": "有人陪同",
    "acknowledged": "已应答",
    "again": "再次发生",
    "call for help": "本人求助",
    "call_back": "手环回拨",
    "cancelled by the wearer": "本人取消",
    "cancelled": "已取消",
    "cannot judge": "无法判断",
    "centre": "通知中心",
    "cleared": "信号已恢复",
    "closed": "已关闭",
    "done": "已完成",
    "duty_lead": "通知值班负责人",
    "end not seen": "未见结束",
    "ended": "已结束",
    "escalate": "立即升级",
    "expired": "已过期",
    "farther away": "继续远离",
    "guardian_1": "通知第一监护人",
    "guardian_2": "通知第二监护人",
    "impact like a fall": "冲击类似跌倒",
    "in bed, not confirmed": "当时在床上，未确认",
    "in a forbidden area": "进入禁区",
    "joined": "新来源并入",
    "lapping": "绕圈",
    "left a forbidden area": "离开禁区",
    "left again": "再次离开",
    "left by the door and not back": "出门未归",
    "local_screen": "电视提示",
    "local_sound": "本地警号",
    "locate": "实时定位",
    "low battery outside": "外出时电量低",
    "moving afterwards, not confirmed": "之后仍有活动，未确认",
    "neighbours": "通知邻居",
    "no longer watched": "监护时段结束",
    "no movement reported": "设备报告无活动",
    "not ended": "未结束",
    "off the wrist outside": "外出时脱腕",
    "often this night": "当晚多次",
    "opened": "新事件",
    "overdue": "逾期未上门",
    "pacing": "来回踱步",
    "radar saw a fall where nobody was present": "雷达报跌倒，但此前室内无人",
    "raised": "级别上升",
    "random": "无目的行走",
    "refused": "已拒绝，缺少人员",
    "returned": "已返回",
    "second detector": "第二个探测器报警",
    "second source": "第二来源证实",
    "second_path": "第二通道",
    "short": "时间过短",
    "still afterwards": "之后一直静止",
    "unusual hour": "不寻常的时间外出",
    "unusual place": "不寻常的地点",
    "walking out, not heard of since": "向外走，此后没有消息",
    "walking afterwards, not confirmed": "之后行走，未确认",
}
_STATES = {State.START: ("began", "开始"), State.END: ("ended", "结束"), State.PULSE: ("", "")}
_TITLES = {rule.name: rule.title for rule in all_rules()}


def explain(event: Event, language: str = "zh") -> str:
    """One line of text in `en` or `zh`; for an event that no rule made, what it is. Other bodies give an empty text."""
    body = event.body
    if not isinstance(body, Occurrence):
        return ""
    is_english = language == "en"
    parts = [_head(body, is_english=is_english)]
    why = body.explain
    if why is not None:
        parts += _reasons(why, is_english=is_english)
    return ". ".join(parts) + "." if is_english else "。".join(parts) + "。"


def _head(body: Occurrence, *, is_english: bool) -> str:
    row = OCCURRENCES[body.kind]
    word = _STATES[body.state][0 if is_english else 1]
    detail = _detail(body.detail, is_english=is_english)
    if is_english:
        text = row.en[:1].upper() + row.en[1:] + (f" {word}" if word else "")
        return text + (f", {body.place}" if body.place else "") + (f": {detail}" if detail else "")
    return row.zh + (f"（{word}）" if word else "") + (f"，{body.place}" if body.place else "") + (f"：{detail}" if detail else "")


def _detail(detail: str | None, *, is_english: bool) -> str:
    """The words of a rule in the reader's language; names of devices and medicines stay as they are."""
    if not detail:
        return ""
    word, colon, kind = detail.partition(": ")
    row = OCCURRENCES[OccurrenceKind(kind)] if colon and kind in OCCURRENCES else None
    if is_english:
        return f"{word}: {row.en}" if row else detail
    step = word.removesuffix(" failed")
    told = DETAILS.get(step, step) + ("未成功" if step != word else "")
    return told + (f"，{row.zh}" if row else f"：{kind}" if colon else "")


def _reasons(why: Explanation, *, is_english: bool) -> list[str]:
    title = _TITLES.get(why.rule, (why.rule, why.rule))
    numbers = [_number(name, value, is_english=is_english) for name, value in (why.numbers or {}).items()]
    settings = [f"{name} = {value}" for name, value in (why.settings or {}).items()]
    count = len(why.inputs or [])
    if is_english:
        first = f"Rule {title[0]}" + (f": {', '.join(numbers)}" if numbers else "")
        rest = [f"Settings: {', '.join(settings)}"] if settings else []
        return [first, *rest, *([f"Based on {count} event{'s' if count > 1 else ''}"] if count else [])]
    first = f"规则“{title[1]}”" + (f"：{'，'.join(numbers)}" if numbers else "")
    rest = [f"设置：{'，'.join(settings)}"] if settings else []
    return [first, *rest, *([f"依据{count}条记录"] if count else [])]


def _number(name: str, value: float, *, is_english: bool) -> str:
    row = NUMBERS.get(name)
    return row[0 if is_english else 1].format(value) if row else f"{name} {value:g}"
