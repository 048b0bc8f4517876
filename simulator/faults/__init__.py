"""What goes wrong on a wire, one kind per file."""

from __future__ import annotations

from typing import Any

from simulator.faults.clock_skew import ClockSkew
from simulator.faults.corrupt import Corrupt
from simulator.faults.delay import Delay
from simulator.faults.drop import Drop
from simulator.faults.duplicate import Duplicate
from simulator.faults.flap import Flap
from simulator.faults.flood import Flood
from simulator.faults.reorder import Reorder
from simulator.faults.replayed import Replayed
from simulator.faults.slice import Slice

FAULTS: dict[str, type[Any]] = {
    "clock_skew": ClockSkew,
    "corrupt": Corrupt,
    "delay": Delay,
    "drop": Drop,
    "duplicate": Duplicate,
    "flap": Flap,
    "flood": Flood,
    "reorder": Reorder,
    "replayed": Replayed,
    "slice": Slice,
}
"""Every fault by the name that scenarios use. Each takes `seed` and the keywords of its class."""
