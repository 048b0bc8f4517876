"""The closed vocabularies of an event: what can be measured, what can happen, what can be asked of a device.

Each enum has one table whose row holds everything that the rest of the system may want to know of it: unit, legal range,
lane, severity, English and Chinese name. A new thing is a new row, never an `if` somewhere else.

Units are UCUM codes where UCUM has one. Ranges are what a working device can report, not what is healthy: a value outside
is a fault of the device or of our reading of it and is refused (RANGE).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple


class Lane(StrEnum):
    """How an event travels: alarms overtake everything and are never shed; telemetry may be shed under a cap."""

    ALARM = "alarm"
    STATE = "state"
    TELEMETRY = "telemetry"


class Severity(IntEnum):
    """How urgent an occurrence is; also CloudEvents `severitynumber`."""

    INFO = 0
    NOTICE = 1
    WARNING = 2
    ALARM = 3
    EMERGENCY = 4


class Datum(StrEnum):
    """Geodetic datum of a position. Chinese maps use GCJ-02 (AMap, Tencent) or BD-09 (Baidu)."""

    WGS84 = "wgs84"
    GCJ02 = "gcj02"
    BD09 = "bd09"


class Source(StrEnum):
    """What a position was computed from."""

    GNSS = "gnss"
    WIFI = "wifi"
    CELL = "cell"
    BEACON = "beacon"
    NONE = "none"


class TimeQuality(StrEnum):
    """Where `at` comes from. SUSPECT: the device's clock was impossible, the receive time is used instead."""

    DEVICE = "device"
    RECEIVED = "received"
    CORRECTED = "corrected"
    SUSPECT = "suspect"
    UNKNOWN = "unknown"


class Trust(StrEnum):
    """Who vouches for the event: the device itself, a device whose message was authenticated, or a rule of ours."""

    CLAIMED = "claimed"
    AUTHENTICATED = "authenticated"
    DERIVED = "derived"


class State(StrEnum):
    """START and END of something that lasts; PULSE for something that has no length."""

    START = "start"
    END = "end"
    PULSE = "pulse"


class Quantity(StrEnum):
    """What can be measured. Table: `QUANTITIES`."""

    BATTERY = "battery"
    HEART_RATE = "heart_rate"
    SYSTOLIC = "systolic"
    DIASTOLIC = "diastolic"
    MEAN_ARTERIAL = "mean_arterial"
    PULSE_RATE = "pulse_rate"
    SPO2 = "spo2"
    PERFUSION_INDEX = "perfusion_index"
    BODY_TEMPERATURE = "body_temperature"
    RESPIRATION_RATE = "respiration_rate"
    RR_INTERVAL = "rr_interval"
    GLUCOSE = "glucose"
    WEIGHT = "weight"
    BMI = "bmi"
    HEIGHT = "height"
    ENERGY = "energy"
    STEPS = "steps"
    TUMBLES = "tumbles"
    WALKING_TIME = "walking_time"
    MOVEMENT = "movement"
    SLEEP_STAGE = "sleep_stage"
    SLEEP_SCORE = "sleep_score"
    SLEEP_AWAKE = "sleep_awake"
    SLEEP_LIGHT = "sleep_light"
    SLEEP_DEEP = "sleep_deep"
    SLEEP_TOTAL = "sleep_total"
    TURNS = "turns"
    APNOEA = "apnoea"
    TEMPERATURE = "temperature"
    HUMIDITY = "humidity"
    DEW_POINT = "dew_point"
    ILLUMINANCE = "illuminance"
    PRESSURE = "pressure"
    WATER_PRESSURE = "water_pressure"
    GAS_LEL = "gas_lel"
    CO = "co"
    CO2 = "co2"
    CH2O = "ch2o"
    TVOC = "tvoc"
    PM25 = "pm25"
    PM10 = "pm10"
    PM1 = "pm1"
    OXYGEN = "oxygen"
    H2S = "h2s"
    SMOKE_DENSITY = "smoke_density"
    UV_INDEX = "uv_index"
    SOUND_LEVEL = "sound_level"
    DISTANCE = "distance"
    LEVEL = "level"
    SPEED = "speed"
    ROTATION = "rotation"
    ACCELERATION = "acceleration"
    VOLTAGE = "voltage"
    CURRENT = "current"
    POWER = "power"
    ENERGY_USED = "energy_used"
    FREQUENCY = "frequency"
    LEAKAGE_CURRENT = "leakage_current"
    CONDUCTIVITY = "conductivity"
    MOISTURE = "moisture"
    WATER_FLOW = "water_flow"
    WATER_VOLUME = "water_volume"
    GAS_VOLUME = "gas_volume"
    AIR_FLOW = "air_flow"
    ODOMETER = "odometer"
    COUNT = "count"
    DURATION = "duration"
    SIGNAL = "signal"
    RSSI = "rssi"


class QuantityRow(NamedTuple):
    """`low`..`high` is what a working device can report, in `unit`."""

    unit: str
    low: float
    high: float
    en: str
    zh: str
    lane: Lane = Lane.TELEMETRY


_Q = Quantity
QUANTITIES: dict[Quantity, QuantityRow] = {
    _Q.BATTERY: QuantityRow("%", 0, 100, "battery", "电量"),
    _Q.HEART_RATE: QuantityRow("bpm", 1, 300, "heart rate", "心率"),
    _Q.SYSTOLIC: QuantityRow("mm[Hg]", 1, 350, "systolic pressure", "收缩压"),
    _Q.DIASTOLIC: QuantityRow("mm[Hg]", 1, 250, "diastolic pressure", "舒张压"),
    _Q.MEAN_ARTERIAL: QuantityRow("mm[Hg]", 1, 300, "mean arterial pressure", "平均动脉压"),
    _Q.PULSE_RATE: QuantityRow("bpm", 1, 300, "pulse rate", "脉率"),
    _Q.SPO2: QuantityRow("%", 1, 100, "oxygen saturation", "血氧饱和度"),
    _Q.PERFUSION_INDEX: QuantityRow("%", 0, 100, "perfusion index", "灌注指数"),
    _Q.BODY_TEMPERATURE: QuantityRow("Cel", 20, 45, "body temperature", "体温"),
    _Q.RESPIRATION_RATE: QuantityRow("/min", 1, 100, "respiration rate", "呼吸率"),
    _Q.RR_INTERVAL: QuantityRow("ms", 100, 6000, "R-R interval", "RR间期"),
    _Q.GLUCOSE: QuantityRow("mmol/L", 0.1, 60, "blood glucose", "血糖"),
    _Q.WEIGHT: QuantityRow("kg", 0.1, 500, "weight", "体重"),
    _Q.BMI: QuantityRow("kg/m2", 1, 150, "body mass index", "体重指数"),
    _Q.HEIGHT: QuantityRow("m", 0.1, 3, "height", "身高"),
    _Q.ENERGY: QuantityRow("kJ", 0, 65535, "energy expended", "消耗能量"),
    _Q.STEPS: QuantityRow("{steps}", 0, 100_000_000, "steps", "步数"),
    _Q.TUMBLES: QuantityRow("{turns}", 0, 100_000_000, "turn-overs", "翻身次数"),
    _Q.WALKING_TIME: QuantityRow("s", 0, 100_000_000, "walking time", "步行时间"),
    _Q.MOVEMENT: QuantityRow("%", 0, 100, "body movement", "体动"),
    _Q.SLEEP_STAGE: QuantityRow("{stage}", 0, 3, "sleep stage (0 deep, 1 light, 2 awake, 3 none)", "睡眠阶段"),
    _Q.SLEEP_SCORE: QuantityRow("{score}", 0, 100, "sleep score", "睡眠评分"),
    _Q.SLEEP_AWAKE: QuantityRow("min", 0, 1440, "time awake in bed", "清醒时长"),
    _Q.SLEEP_LIGHT: QuantityRow("min", 0, 1440, "light sleep", "浅睡时长"),
    _Q.SLEEP_DEEP: QuantityRow("min", 0, 1440, "deep sleep", "深睡时长"),
    _Q.SLEEP_TOTAL: QuantityRow("min", 0, 2880, "total sleep", "总睡眠时长"),
    _Q.TURNS: QuantityRow("{turns}", 0, 1000, "turns in bed", "床上翻身"),
    _Q.APNOEA: QuantityRow("{events}", 0, 1000, "apnoea events", "呼吸暂停次数"),
    _Q.TEMPERATURE: QuantityRow("Cel", -60, 200, "temperature", "温度"),
    _Q.HUMIDITY: QuantityRow("%", 0, 100, "humidity", "湿度"),
    _Q.DEW_POINT: QuantityRow("Cel", -100, 100, "dew point", "露点"),
    _Q.ILLUMINANCE: QuantityRow("lx", 0, 400_000, "illuminance", "照度"),
    _Q.PRESSURE: QuantityRow("hPa", 0, 2000, "air pressure", "气压"),
    _Q.WATER_PRESSURE: QuantityRow("kPa", -100, 100_000, "water pressure", "水压"),
    _Q.GAS_LEL: QuantityRow("%[LEL]", 0, 100, "combustible gas", "可燃气体"),
    _Q.CO: QuantityRow("[ppm]", 0, 10_000, "carbon monoxide", "一氧化碳"),
    _Q.CO2: QuantityRow("[ppm]", 0, 100_000, "carbon dioxide", "二氧化碳"),
    _Q.CH2O: QuantityRow("[ppm]", 0, 1000, "formaldehyde", "甲醛"),
    _Q.TVOC: QuantityRow("ug/m3", 0, 100_000, "volatile organic compounds", "总挥发性有机物"),
    _Q.PM25: QuantityRow("ug/m3", 0, 100_000, "PM2.5", "PM2.5"),
    _Q.PM10: QuantityRow("ug/m3", 0, 100_000, "PM10", "PM10"),
    _Q.PM1: QuantityRow("ug/m3", 0, 100_000, "PM1.0", "PM1.0"),
    _Q.OXYGEN: QuantityRow("%", 0, 100, "oxygen in air", "氧气浓度"),
    _Q.H2S: QuantityRow("[ppm]", 0, 10_000, "hydrogen sulphide", "硫化氢"),
    _Q.SMOKE_DENSITY: QuantityRow("%", 0, 100, "smoke density", "烟雾浓度"),
    _Q.UV_INDEX: QuantityRow("{index}", 0, 50, "UV index", "紫外线指数"),
    _Q.SOUND_LEVEL: QuantityRow("dB", 0, 200, "sound level", "声级"),
    _Q.DISTANCE: QuantityRow("m", 0, 100_000, "distance", "距离"),
    _Q.LEVEL: QuantityRow("m", -1000, 100_000, "level", "液位"),
    _Q.SPEED: QuantityRow("m/s", -1000, 1000, "speed", "速度"),
    _Q.ROTATION: QuantityRow("deg", -36_000, 36_000, "rotation", "转角"),
    _Q.ACCELERATION: QuantityRow("m/s2", -2000, 2000, "acceleration", "加速度"),
    _Q.VOLTAGE: QuantityRow("V", -1000, 100_000, "voltage", "电压"),
    _Q.CURRENT: QuantityRow("A", -10_000, 10_000, "current", "电流"),
    _Q.POWER: QuantityRow("W", -10_000_000, 10_000_000, "power", "功率"),
    _Q.ENERGY_USED: QuantityRow("kW.h", 0, 1_000_000_000, "energy used", "用电量"),
    _Q.FREQUENCY: QuantityRow("Hz", 0, 1_000_000, "frequency", "频率"),
    _Q.LEAKAGE_CURRENT: QuantityRow("mA", 0, 100_000, "leakage current", "剩余电流"),
    _Q.CONDUCTIVITY: QuantityRow("uS/cm", 0, 1_000_000, "conductivity", "电导率"),
    _Q.MOISTURE: QuantityRow("%", 0, 100, "moisture", "含水量"),
    _Q.WATER_FLOW: QuantityRow("L/min", 0, 100_000, "water flow", "水流量"),
    _Q.WATER_VOLUME: QuantityRow("L", 0, 1_000_000_000, "water used", "用水量"),
    _Q.GAS_VOLUME: QuantityRow("m3", 0, 1_000_000_000, "gas used", "用气量"),
    _Q.AIR_FLOW: QuantityRow("m3/min", 0, 100_000, "air flow", "风量"),
    _Q.ODOMETER: QuantityRow("m", 0, 100_000_000_000, "odometer", "里程"),
    _Q.COUNT: QuantityRow("{count}", -2_147_483_648, 4_294_967_295, "count", "计数"),
    _Q.DURATION: QuantityRow("s", 0, 4_294_967_295, "duration", "时长"),
    _Q.SIGNAL: QuantityRow("%", 0, 100, "signal strength", "信号强度"),
    _Q.RSSI: QuantityRow("dBm", -200, 50, "received signal", "接收信号"),
}


class OccurrenceKind(StrEnum):
    """What can happen. Table: `OCCURRENCES`."""

    SOS = "sos"
    FALL = "fall"
    FALL_SUSPECTED = "fall_suspected"
    FIRE = "fire"
    SMOKE = "smoke"
    HEAT = "heat"
    GAS = "gas"
    CO_ALARM = "co_alarm"
    WATER_LEAK = "water_leak"
    ELECTRICAL_FIRE = "electrical_fire"
    MEDICAL = "medical"
    BURGLARY = "burglary"
    WELFARE_MISSED = "welfare_missed"
    VITAL_ABNORMAL = "vital_abnormal"
    BREATHING_ABNORMAL = "breathing_abnormal"
    STRUGGLE = "struggle"
    LONG_STILL = "long_still"
    GENERAL_ALARM = "general_alarm"
    REMOVED = "removed"
    WORN = "worn"
    NO_MOTION = "no_motion"
    MOTION = "motion"
    PRESENCE = "presence"
    ZONE_OCCUPIED = "zone_occupied"
    BED_EXIT = "bed_exit"
    BED_ENTRY = "bed_entry"
    DOOR_OPEN = "door_open"
    WINDOW_OPEN = "window_open"
    DOOR_UNLOCKED = "door_unlocked"
    VIBRATION = "vibration"
    TILT = "tilt"
    CRASH = "crash"
    TAMPER = "tamper"
    SOUND = "sound"
    LIGHT = "light"
    COLD = "cold"
    BUTTON = "button"
    MOVING = "moving"
    IGNITION = "ignition"
    FAULT = "fault"
    WARMING_UP = "warming_up"
    POWER_CUT = "power_cut"
    LOW_BATTERY = "low_battery"
    CHARGING = "charging"
    POWER_ON = "power_on"
    POWER_OFF = "power_off"
    RUNNING = "running"
    SHIELDED = "shielded"
    SUPERVISED = "supervised"
    DEVICE_RESET = "device_reset"
    OFFLINE = "offline"
    NETWORK_LOST = "network_lost"
    SIM_FAULT = "sim_fault"
    GNSS_LOST = "gnss_lost"
    OVERSPEED = "overspeed"
    DEVICE_FENCE_EXIT = "device_fence_exit"
    DEVICE_FENCE_ENTRY = "device_fence_entry"
    GEOFENCE_EXIT = "geofence_exit"
    GEOFENCE_ENTRY = "geofence_entry"
    GEOFENCE_UNKNOWN = "geofence_unknown"
    GEOFENCE_DWELL = "geofence_dwell"
    WAS_OUTSIDE = "was_outside"
    NOT_BACK = "not_back"
    WANDERING = "wandering"
    INACTIVITY = "inactivity"
    MORNING_RISE_MISSED = "morning_rise_missed"
    NIGHT_EXIT = "night_exit"
    BATHROOM_LONG = "bathroom_long"
    BED_NO_RETURN = "bed_no_return"
    DOOR_LEFT_OPEN = "door_left_open"
    TEMPERATURE_ABNORMAL = "temperature_abnormal"
    MEDICATION_DUE = "medication_due"
    MEDICATION_MISSED = "medication_missed"
    MEDICATION_TAKEN = "medication_taken"
    REMINDER_CONFIRMED = "reminder_confirmed"
    REMINDER_SNOOZED = "reminder_snoozed"
    REMINDER_UNANSWERED = "reminder_unanswered"
    INCOMING_CALL = "incoming_call"
    CALL_ENDED = "call_ended"
    MESSAGE_RECEIVED = "message_received"
    VIDEO_CONSENT = "video_consent"
    SERVICE_VISIT = "service_visit"
    LOCATION_REQUESTED = "location_requested"
    ARMED = "armed"
    TEST = "test"
    VALVE_CLOSED = "valve_closed"
    SIREN = "siren"
    IDENTITY_CONFLICT = "identity_conflict"
    UNSTABLE_SENSOR = "unstable_sensor"
    INCIDENT = "incident"
    LADDER_STEP = "ladder_step"
    UNDELIVERED = "undelivered"
    SUPPRESSED = "suppressed"
    LOSS = "loss"
    CLOCK_STEP = "clock_step"
    RECOVERED = "recovered"
    STARTED = "started"


class OccurrenceRow(NamedTuple):
    """`needs_close`: an incident of this kind stays open until a person closes it."""

    lane: Lane
    severity: Severity
    en: str
    zh: str
    needs_close: bool = False


_O, _A, _S = OccurrenceKind, Lane.ALARM, Lane.STATE
OCCURRENCES: dict[OccurrenceKind, OccurrenceRow] = {
    _O.SOS: OccurrenceRow(_A, Severity.EMERGENCY, "call for help", "紧急求助", needs_close=True),
    _O.FALL: OccurrenceRow(_A, Severity.EMERGENCY, "fall", "跌倒", needs_close=True),
    _O.FALL_SUSPECTED: OccurrenceRow(_A, Severity.WARNING, "suspected fall", "疑似跌倒"),
    _O.FIRE: OccurrenceRow(_A, Severity.EMERGENCY, "fire", "火警", needs_close=True),
    _O.SMOKE: OccurrenceRow(_A, Severity.EMERGENCY, "smoke", "烟雾报警", needs_close=True),
    _O.HEAT: OccurrenceRow(_A, Severity.ALARM, "excessive heat", "高温报警", needs_close=True),
    _O.GAS: OccurrenceRow(_A, Severity.EMERGENCY, "gas leak", "燃气泄漏", needs_close=True),
    _O.CO_ALARM: OccurrenceRow(_A, Severity.EMERGENCY, "carbon monoxide", "一氧化碳报警", needs_close=True),
    _O.WATER_LEAK: OccurrenceRow(_A, Severity.ALARM, "water leak", "漏水"),
    _O.ELECTRICAL_FIRE: OccurrenceRow(_A, Severity.EMERGENCY, "electrical fire risk", "电气火灾", needs_close=True),
    _O.MEDICAL: OccurrenceRow(_A, Severity.EMERGENCY, "medical emergency", "医疗急救", needs_close=True),
    _O.BURGLARY: OccurrenceRow(_A, Severity.ALARM, "intrusion", "入侵报警"),
    _O.WELFARE_MISSED: OccurrenceRow(_A, Severity.ALARM, "welfare check missed", "平安确认缺失", needs_close=True),
    _O.VITAL_ABNORMAL: OccurrenceRow(_A, Severity.ALARM, "abnormal vital sign", "体征异常"),
    _O.BREATHING_ABNORMAL: OccurrenceRow(_A, Severity.ALARM, "abnormal breathing", "呼吸异常"),
    _O.STRUGGLE: OccurrenceRow(_A, Severity.WARNING, "abnormal struggle", "异常挣扎"),
    _O.LONG_STILL: OccurrenceRow(_A, Severity.ALARM, "motionless for long", "长时间静止"),
    _O.GENERAL_ALARM: OccurrenceRow(_A, Severity.ALARM, "general alarm", "一般报警"),
    _O.REMOVED: OccurrenceRow(_A, Severity.WARNING, "taken off", "设备脱落"),
    _O.WORN: OccurrenceRow(_S, Severity.INFO, "put on", "已佩戴"),
    _O.NO_MOTION: OccurrenceRow(_A, Severity.WARNING, "no motion", "长时间无活动"),
    _O.MOTION: OccurrenceRow(_S, Severity.INFO, "motion", "有人活动"),
    _O.PRESENCE: OccurrenceRow(_S, Severity.INFO, "presence", "有人"),
    _O.ZONE_OCCUPIED: OccurrenceRow(_S, Severity.INFO, "zone occupied", "区域有人"),
    _O.BED_EXIT: OccurrenceRow(_S, Severity.NOTICE, "left the bed", "离床"),
    _O.BED_ENTRY: OccurrenceRow(_S, Severity.INFO, "went to bed", "上床"),
    _O.DOOR_OPEN: OccurrenceRow(_S, Severity.INFO, "door open", "门打开"),
    _O.WINDOW_OPEN: OccurrenceRow(_S, Severity.INFO, "window open", "窗打开"),
    _O.DOOR_UNLOCKED: OccurrenceRow(_S, Severity.INFO, "door unlocked", "门未锁"),
    _O.VIBRATION: OccurrenceRow(_S, Severity.NOTICE, "vibration", "震动"),
    _O.TILT: OccurrenceRow(_S, Severity.NOTICE, "tilted", "倾斜"),
    _O.CRASH: OccurrenceRow(_A, Severity.ALARM, "impact", "碰撞"),
    _O.TAMPER: OccurrenceRow(_A, Severity.WARNING, "tampering", "防拆报警"),
    _O.SOUND: OccurrenceRow(_S, Severity.INFO, "sound", "有声音"),
    _O.LIGHT: OccurrenceRow(_S, Severity.INFO, "light", "有光"),
    _O.COLD: OccurrenceRow(_S, Severity.NOTICE, "cold", "低温"),
    _O.BUTTON: OccurrenceRow(_S, Severity.INFO, "button pressed", "按键"),
    _O.MOVING: OccurrenceRow(_S, Severity.INFO, "moving", "移动中"),
    _O.IGNITION: OccurrenceRow(_S, Severity.INFO, "ignition on", "点火"),
    _O.FAULT: OccurrenceRow(_A, Severity.WARNING, "device fault", "设备故障"),
    _O.WARMING_UP: OccurrenceRow(_S, Severity.INFO, "warming up", "预热中"),
    _O.POWER_CUT: OccurrenceRow(_A, Severity.WARNING, "mains power lost", "断电"),
    _O.LOW_BATTERY: OccurrenceRow(_A, Severity.NOTICE, "low battery", "电量低"),
    _O.CHARGING: OccurrenceRow(_S, Severity.INFO, "charging", "充电中"),
    _O.POWER_ON: OccurrenceRow(_S, Severity.INFO, "switched on", "开机"),
    _O.POWER_OFF: OccurrenceRow(_A, Severity.WARNING, "switched off", "关机"),
    _O.RUNNING: OccurrenceRow(_S, Severity.INFO, "running", "运行"),
    _O.SHIELDED: OccurrenceRow(_S, Severity.NOTICE, "disabled by operator", "屏蔽"),
    _O.SUPERVISED: OccurrenceRow(_S, Severity.NOTICE, "supervision signal", "监管"),
    _O.DEVICE_RESET: OccurrenceRow(_S, Severity.NOTICE, "device reset", "设备复位"),
    _O.OFFLINE: OccurrenceRow(_A, Severity.WARNING, "device offline", "设备离线"),
    _O.NETWORK_LOST: OccurrenceRow(_A, Severity.WARNING, "network lost", "网络中断"),
    _O.SIM_FAULT: OccurrenceRow(_A, Severity.WARNING, "SIM card fault", "SIM卡故障"),
    _O.GNSS_LOST: OccurrenceRow(_S, Severity.NOTICE, "no satellite fix", "定位丢失"),
    _O.OVERSPEED: OccurrenceRow(_S, Severity.NOTICE, "overspeed", "超速"),
    _O.DEVICE_FENCE_EXIT: OccurrenceRow(_A, Severity.WARNING, "left the device's fence", "设备出围栏"),
    _O.DEVICE_FENCE_ENTRY: OccurrenceRow(_S, Severity.INFO, "entered the device's fence", "设备进围栏"),
    _O.GEOFENCE_EXIT: OccurrenceRow(_A, Severity.ALARM, "left the safe area", "离开安全区域", needs_close=True),
    _O.GEOFENCE_ENTRY: OccurrenceRow(_S, Severity.INFO, "back in the safe area", "回到安全区域"),
    _O.GEOFENCE_UNKNOWN: OccurrenceRow(_A, Severity.WARNING, "whereabouts unknown", "位置未知"),
    _O.GEOFENCE_DWELL: OccurrenceRow(_S, Severity.NOTICE, "stays in an area", "区域停留"),
    _O.WAS_OUTSIDE: OccurrenceRow(_S, Severity.NOTICE, "was outside earlier", "曾离开安全区域"),
    _O.NOT_BACK: OccurrenceRow(_A, Severity.ALARM, "not back in time", "未按时返回"),
    _O.WANDERING: OccurrenceRow(_A, Severity.NOTICE, "wandering", "徘徊"),
    _O.INACTIVITY: OccurrenceRow(_A, Severity.ALARM, "no sign of activity", "长时间无活动迹象", needs_close=True),
    _O.MORNING_RISE_MISSED: OccurrenceRow(_A, Severity.WARNING, "has not got up", "未按时起床"),
    _O.NIGHT_EXIT: OccurrenceRow(_A, Severity.ALARM, "went out at night", "夜间外出"),
    _O.BATHROOM_LONG: OccurrenceRow(_A, Severity.ALARM, "long in the bathroom", "卫生间滞留"),
    _O.BED_NO_RETURN: OccurrenceRow(_A, Severity.ALARM, "left bed and did not return", "离床未归"),
    _O.DOOR_LEFT_OPEN: OccurrenceRow(_A, Severity.WARNING, "door left open", "门未关"),
    _O.TEMPERATURE_ABNORMAL: OccurrenceRow(_A, Severity.WARNING, "abnormal room temperature", "室温异常"),
    _O.MEDICATION_DUE: OccurrenceRow(_S, Severity.INFO, "medicine due", "该服药"),
    _O.MEDICATION_MISSED: OccurrenceRow(_A, Severity.WARNING, "medicine missed", "漏服药"),
    _O.MEDICATION_TAKEN: OccurrenceRow(_S, Severity.INFO, "medicine taken", "已服药"),
    _O.REMINDER_CONFIRMED: OccurrenceRow(_S, Severity.INFO, "reminder confirmed", "提醒已确认"),
    _O.REMINDER_SNOOZED: OccurrenceRow(_S, Severity.INFO, "reminder snoozed", "提醒已推迟"),
    _O.REMINDER_UNANSWERED: OccurrenceRow(_S, Severity.NOTICE, "reminder not answered", "提醒无应答"),
    _O.INCOMING_CALL: OccurrenceRow(_S, Severity.NOTICE, "incoming call", "来电"),
    _O.CALL_ENDED: OccurrenceRow(_S, Severity.INFO, "call ended", "通话结束"),
    _O.MESSAGE_RECEIVED: OccurrenceRow(_S, Severity.INFO, "message received", "收到消息"),
    _O.VIDEO_CONSENT: OccurrenceRow(_S, Severity.INFO, "video look-in answered", "视频探视应答"),
    _O.SERVICE_VISIT: OccurrenceRow(_S, Severity.INFO, "service visit", "上门服务"),
    _O.LOCATION_REQUESTED: OccurrenceRow(_S, Severity.INFO, "location requested", "请求定位"),
    _O.ARMED: OccurrenceRow(_S, Severity.INFO, "armed", "布防"),
    _O.TEST: OccurrenceRow(_S, Severity.INFO, "test signal", "测试信号"),
    _O.VALVE_CLOSED: OccurrenceRow(_S, Severity.NOTICE, "valve closed", "阀门关闭"),
    _O.SIREN: OccurrenceRow(_S, Severity.NOTICE, "siren sounding", "警号鸣响"),
    _O.IDENTITY_CONFLICT: OccurrenceRow(_A, Severity.WARNING, "two devices with one identity", "设备身份冲突"),
    _O.UNSTABLE_SENSOR: OccurrenceRow(_S, Severity.NOTICE, "unstable sensor", "传感器抖动"),
    _O.INCIDENT: OccurrenceRow(_S, Severity.INFO, "incident", "事件"),
    _O.LADDER_STEP: OccurrenceRow(_A, Severity.ALARM, "escalation step", "升级处置"),
    _O.UNDELIVERED: OccurrenceRow(_A, Severity.ALARM, "alarm not acknowledged by the centre", "报警未送达"),
    _O.SUPPRESSED: OccurrenceRow(_S, Severity.INFO, "notice suppressed", "通知已抑制"),
    _O.LOSS: OccurrenceRow(_A, Severity.WARNING, "events shed", "事件丢弃"),
    _O.CLOCK_STEP: OccurrenceRow(_S, Severity.NOTICE, "clock stepped", "时钟跳变"),
    _O.RECOVERED: OccurrenceRow(_A, Severity.WARNING, "store recovered after damage", "存储已恢复"),
    _O.STARTED: OccurrenceRow(_S, Severity.INFO, "gateway started", "网关启动"),
}


class Verb(StrEnum):
    """What can be asked of a device. Table: `VERBS`."""

    LOCATE = "locate"
    RING = "ring"
    MESSAGE = "message"
    REMIND = "remind"
    CALL_BACK = "call_back"
    LISTEN_IN = "listen_in"
    DIAL = "dial"
    SET_INTERVAL = "set_interval"
    LIVE_MODE = "live_mode"
    SET_SOS_NUMBERS = "set_sos_numbers"
    SET_PHONE_BOOK = "set_phone_book"
    SET_WHITELIST = "set_whitelist"
    SET_TIME_ZONE = "set_time_zone"
    MEASURE = "measure"
    FALL_DETECTION = "fall_detection"
    FENCE = "fence"
    POWER_OFF = "power_off"
    RESTART = "restart"
    FACTORY_RESET = "factory_reset"
    SET_SERVER = "set_server"
    VALVE = "valve"
    SIREN = "siren"
    FAN = "fan"
    SILENCE = "silence"
    PLAY = "play"
    VOLUME = "volume"
    VIDEO_REQUEST = "video_request"
    SEND_SMS = "send_sms"
    PERMIT_JOIN = "permit_join"
    CONFIGURE = "configure"
    QUERY = "query"
    RAW_TEXT = "raw_text"
    ACKNOWLEDGE = "acknowledge"
    CLOSE = "close"
    CANCEL = "cancel"
    SUPPRESS = "suppress"


class VerbRow(NamedTuple):
    """`args` maps each argument to its type (`str int float bool list`); a trailing `?` makes it optional.

    `dangerous` verbs need an explicit permission (they can cut the device off, or intrude on a person).
    """

    args: dict[str, str]
    en: str
    zh: str
    dangerous: bool = False


_V = Verb
VERBS: dict[Verb, VerbRow] = {
    _V.LOCATE: VerbRow({}, "locate now", "立即定位"),
    _V.RING: VerbRow({"seconds": "int?"}, "ring to be found", "寻找设备"),
    _V.MESSAGE: VerbRow({"text": "str", "title": "str?", "voice": "bool?", "volume": "int?", "seconds": "int?"}, "show a text", "发送文字"),
    _V.REMIND: VerbRow(
        {
            "text": "str",
            "time": "str?",
            "days": "str?",
            "number": "int?",
            "voice": "bool?",
            "volume": "int?",
            "kind": "str?",
            "audio": "str?",
        },
        "reminder",
        "提醒",
    ),
    _V.CALL_BACK: VerbRow({"number": "str"}, "device calls this number", "回拨"),
    _V.LISTEN_IN: VerbRow({"number": "str", "consent": "str"}, "silent call back", "监听", dangerous=True),
    _V.DIAL: VerbRow({"number": "str"}, "dial a number", "拨号"),
    _V.SET_INTERVAL: VerbRow({"seconds": "int", "still_seconds": "int?"}, "set report interval", "设置上报间隔"),
    _V.LIVE_MODE: VerbRow({"seconds": "int", "interval": "int?"}, "report often for a while", "实时追踪"),
    _V.SET_SOS_NUMBERS: VerbRow({"numbers": "list"}, "set SOS numbers", "设置求助号码"),
    _V.SET_PHONE_BOOK: VerbRow({"entries": "list"}, "set phone book (name, number pairs)", "设置电话簿"),
    _V.SET_WHITELIST: VerbRow({"numbers": "list"}, "set allowed callers", "设置白名单"),
    _V.SET_TIME_ZONE: VerbRow({"offset_minutes": "int", "language": "int?"}, "set time zone", "设置时区"),
    _V.MEASURE: VerbRow({"quantity": "str", "interval_s": "int?"}, "measure now", "立即测量"),
    _V.FALL_DETECTION: VerbRow({"on": "bool", "sensitivity": "int?", "call": "bool?"}, "fall detection on or off", "跌倒检测开关"),
    _V.FENCE: VerbRow(
        {"shape": "str", "points": "list", "radius_m": "int?", "number": "int?", "on": "bool?"}, "fence in the device", "设备围栏"
    ),
    _V.POWER_OFF: VerbRow({}, "power off", "关机", dangerous=True),
    _V.RESTART: VerbRow({}, "restart", "重启"),
    _V.FACTORY_RESET: VerbRow({}, "factory reset", "恢复出厂", dangerous=True),
    _V.SET_SERVER: VerbRow({"host": "str", "port": "int"}, "set server address", "设置服务器", dangerous=True),
    _V.VALVE: VerbRow({"open": "bool"}, "open or close the valve", "阀门控制"),
    _V.SIREN: VerbRow({"on": "bool", "seconds": "int?", "person": "str?"}, "siren on or off (off needs a person)", "警号控制"),
    _V.FAN: VerbRow({"on": "bool"}, "fan on or off", "风机控制"),
    _V.SILENCE: VerbRow({"person": "str"}, "silence the local sounder", "消音"),
    _V.PLAY: VerbRow({"url": "str", "volume": "int?"}, "play on the TV", "电视播放"),
    _V.VOLUME: VerbRow({"percent": "int"}, "set volume", "设置音量"),
    _V.VIDEO_REQUEST: VerbRow({"from": "str", "seconds": "int?"}, "ask for a video look-in", "视频探视请求"),
    _V.SEND_SMS: VerbRow({"number": "str", "text": "str"}, "send a text message", "发送短信"),
    _V.PERMIT_JOIN: VerbRow({"seconds": "int"}, "let new devices join", "允许入网"),
    _V.CONFIGURE: VerbRow({"name": "str", "value": "str"}, "set a device parameter", "设置参数"),
    _V.QUERY: VerbRow({"name": "str?"}, "ask for a parameter or state", "查询"),
    _V.RAW_TEXT: VerbRow({"text": "str"}, "vendor command as text", "厂商指令", dangerous=True),
    _V.ACKNOWLEDGE: VerbRow({"incident": "str", "person": "str"}, "a person takes an incident (gateway)", "接警"),
    _V.CLOSE: VerbRow({"incident": "str", "person": "str"}, "a person closes an incident (gateway)", "关闭事件"),
    _V.CANCEL: VerbRow({"incident": "str", "person": "str"}, "a person calls an incident off as false (gateway)", "撤销误报"),
    _V.SUPPRESS: VerbRow(
        {"subject": "str", "mode": "str", "person": "str", "hours": "float?", "on": "bool?"},
        "guest, away or maintenance mode of a resident or place (gateway)",
        "抑制通知",
    ),
}
