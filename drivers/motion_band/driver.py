"""A band that sends raw acceleration over MQTT; the fall detector of the rules judges it.

Source: protocols/mqtt/motion_band.py (profile of Anhu).
"""

from __future__ import annotations

from drivers.api import (
    Acceleration,
    Command,
    CommandStatus,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
    Occurrence,
    OccurrenceKind,
    Options,
    Output,
    RemoteProtocolError,
    State,
    Transport,
    read_options,
)
from protocols.mqtt.edges import Edges
from protocols.mqtt.motion_band import TOPIC, Block, decode, device_of


class MotionBand:
    """One band, or all bands of a broker."""

    info = DriverInfo(
        name="motion_band",
        title="Band that sends raw acceleration",
        vendor="any (profile of Anhu)",
        models=("anhu/band profile 1",),
        transports=(Transport.MQTT,),
        emits=("acceleration", "sos", "worn", "health"),
        options=(),
        source="protocols/mqtt/motion_band.py",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        read_options(self.info, options)
        self._device = (device or "").removeprefix("motion_band:")
        self._edges = Edges()
        self._batteries: dict[str, int] = {}

    def topics(self) -> list[str]:
        """The topic of the band, or of all bands."""
        return [TOPIC.text.replace("{id}", self._device or "+")]

    def receive(self, frame: Frame) -> Output:
        """Events of one block."""
        output = Output()
        try:
            name = device_of(frame.topic)
            output.device = f"motion_band:{name}"
            block = decode(frame.data)
        except RemoteProtocolError as error:
            output.rejects.append(error.reject(frame.data))
            return output
        say = output.events.append
        device = output.device
        # An alarm first.
        if self._edges.turn(f"key {name}", "on" if block.is_key_pressed else "", retained=frame.retained) and block.is_key_pressed:
            say(frame.event(device, Occurrence(kind=OccurrenceKind.SOS, state=State.PULSE, detail="key")))
        if self._edges.turn(f"worn {name}", "on" if block.is_worn else "", retained=frame.retained):
            say(frame.event(device, Occurrence(kind=OccurrenceKind.WORN, state=State.START if block.is_worn else State.END)))
        if not frame.retained:
            say(frame.event(device, _acceleration(block)))
        if block.battery is not None and self._batteries.get(name) != block.battery:
            self._batteries[name] = block.battery
            say(frame.event(device, DeviceHealth(battery_percent=block.battery)))
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """A band of this profile only speaks."""
        return Output(events=[command.result(CommandStatus.FAILED, now, "a motion band takes no commands")])

    def wake(self, now: Instant) -> Output:
        """Nothing to do."""
        return Output()

    def dump(self) -> bytes:
        """What is on."""
        return self._edges.dump()

    def load(self, state: bytes) -> None:
        """Take a dump back; a damaged one is ignored."""
        self._edges.load(state)


def _acceleration(block: Block) -> Acceleration:
    place = "waist" if block.is_waist else "wrist"
    return Acceleration(hz=float(block.hz), first=block.first, samples=list(block.samples), range_g=float(block.range_g), place=place)


DRIVER = MotionBand
