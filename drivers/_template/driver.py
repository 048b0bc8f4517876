"""Example: a bed scale on a serial line (copy this folder with `anhu driver new NAME`).

Frame, 6 bytes, 9600 8N1, once a second. Source: invented for this template.

    BD ss wwwwwwww wwwwwwww pp cc
    |  |  |                 |  +- sum8 of bytes 0..4
    |  |  |                 +- battery, percent
    |  |  +- weight, u16 big endian, 0.1 kg
    |  +- state: bit 0 occupied, bit 1 sensor fault
    +- start byte
"""

from __future__ import annotations

from drivers.api import (
    Command,
    CommandStatus,
    DeviceHealth,
    DriverInfo,
    Frame,
    Instant,
    Measurement,
    Occurrence,
    OccurrenceKind,
    Option,
    Options,
    Output,
    Quantity,
    Reason,
    Reject,
    State,
    Transport,
    in_range,
    read_options,
)
from protocols.bits import bit
from protocols.checksum import sum8
from protocols.framing import NEED_MORE, Cut, Framer

START = 0xBD
FRAME_BYTES = 6


def cut(buffer: bytes, start: int) -> Cut:
    """Where the next frame is: a start byte whose sum fits."""
    at = buffer.find(START, start)
    if at < 0:
        return Cut(junk=len(buffer) - start)
    if len(buffer) - at < FRAME_BYTES:
        return Cut(junk=at - start) if at > start else NEED_MORE
    return Cut(junk=at - start, size=FRAME_BYTES)


class BedScale:
    """One bed scale."""

    info = DriverInfo(
        name="_template",
        title="Bed scale (example)",
        vendor="Anhu",
        models=("BS-1",),
        transports=(Transport.SERIAL,),
        emits=("bed_entry", "bed_exit", "fault", "weight", "health"),
        options=(Option("least_kg", "float", 10.0, "weight from which the bed counts as occupied, kg", low=1, high=100),),
        source="invented for this template",
    )

    def __init__(self, options: Options, device: str | None) -> None:
        self._least_kg = float(read_options(self.info, options)["least_kg"])
        self._device = f"bed_scale:{device or 'unnamed'}"
        self._framer = Framer(cut, limit=FRAME_BYTES)
        self._occupied: bool | None = None

    def receive(self, frame: Frame) -> Output:
        """Events of every frame that this read completes."""
        output = Output(device=self._device)
        for found in self._framer.feed(frame.data):
            if isinstance(found, Reject):
                output.rejects.append(found)
            else:
                self._decode(frame.part(found), output)
        return output

    def command(self, command: Command, now: Instant) -> Output:
        """A bed scale takes no commands."""
        return Output(events=[command.result(CommandStatus.FAILED, now, "a bed scale takes no commands")])

    def wake(self, now: Instant) -> Output:
        """Nothing to do."""
        return Output()

    def _decode(self, frame: Frame, output: Output) -> None:
        data = frame.data
        if sum8(data[:5]) != data[5]:
            output.rejects.append(Reject(Reason.INTEGRITY, f"sum {sum8(data[:5]):02x} expected, got {data[5]:02x}", data))
            return
        weight, battery = int.from_bytes(data[2:4], "big") / 10, data[4]
        if battery > 100 or not (weight == 0 or in_range(Quantity.WEIGHT, weight)):
            output.rejects.append(Reject(Reason.RANGE, f"battery 0..100 and weight 0..500 expected, got {battery} and {weight}", data))
            return
        say = output.events.append
        if bit(data[1], 1):
            say(frame.event(self._device, Occurrence(kind=OccurrenceKind.FAULT, detail="load cell")))
        occupied = bit(data[1], 0) and weight >= self._least_kg
        if occupied != self._occupied:
            kind = OccurrenceKind.BED_ENTRY if occupied else OccurrenceKind.BED_EXIT
            say(frame.event(self._device, Occurrence(kind=kind, state=State.PULSE)))
            self._occupied = occupied
        if weight:
            say(frame.event(self._device, Measurement(quantity=Quantity.WEIGHT, value=weight)))
        say(frame.event(self._device, DeviceHealth(battery_percent=battery)))


DRIVER = BedScale
