"""`anhu fall FILE`: what the fall detector says of recorded acceleration, one JSON object per impact.

Two forms are read, see `recordings.py`: npz in the layout of UMAFall, and csv with columns x, y, z, optionally time, sample number and
trial. For each trial the last line is its summary: `k`, `alarm` and, for a fall, `latency_s`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.cli.recordings import Recording, read_recordings
from gateway.cli.text import example, print_json
from gateway.errors import AnhuError

BLOCK_S = 1.0
"""Streams are fed in blocks of this length, as from a device."""
_WAISTS = ("waist", "belt", "hip", "lumbar", "lower_back")


def add(verbs: Any) -> None:
    """Register the verb."""
    parser = verbs.add_parser(
        "fall",
        help="verdicts of the fall detector on recorded acceleration",
        description="Prints time_s, score, verdict (fall, no fall, cannot judge) and latency_s of each impact, then k and alarm of the "
        "trial. FILE: npz (acc, off) or csv with a header (x, y, z; optionally a time, seq, k); the unit is found by header and gravity.",
        epilog=example("anhu fall walk_wrist.csv --hz 25"),
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--hz", type=float, help="samples per second (default: told by the file, else 20)")
    parser.add_argument("--place", choices=("wrist", "waist"), help="place of wear (default: told by the name of the file, else wrist)")
    parser.add_argument("--range-g", type=float, default=16.0, help="range of the sensor; values beyond are cut")
    parser.add_argument("--threshold", type=float, default=0.5, help="score from which an impact counts as a fall")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """The verb."""
    if args.hz is not None and not 5.0 <= args.hz <= 1000.0:
        raise AnhuError(f"--hz: expected 5..1000, got {args.hz:g}", hint="anhu fall --help")
    if args.range_g <= 0:
        raise AnhuError(f"--range-g: expected more than 0, got {args.range_g:g}", hint="anhu fall --help")
    place = args.place or ("waist" if any(word in args.file.name.lower() for word in _WAISTS) else "wrist")
    try:
        for recording in read_recordings(args.file, args.hz):
            for line in judged(recording, place, threshold=args.threshold, range_g=args.range_g):
                print_json(line)
    except OSError as error:
        raise AnhuError(f"{args.file}: {error.strerror or error}", hint="anhu fall --help") from None
    except (ValueError, KeyError) as error:
        raise AnhuError(f"{args.file}: {error}", hint="anhu fall --help shows what a file holds") from None
    return 0


def judged(recording: Recording, place: str, *, threshold: float, range_g: float) -> Iterator[dict[str, Any]]:
    """The lines of one trial: its impacts, then `k` and `alarm`."""
    import numpy as np

    from gateway.rules.fall_stream import FALL, LONGEST_GAP_S, Stream, take, verdicts

    stream = Stream()
    samples = np.clip(np.round(recording.samples), -1000 * range_g, 1000 * range_g).astype(int)
    gaps = np.diff(recording.numbers)
    breaks = np.flatnonzero(gaps != 1) + 1
    ends = {len(samples), *(np.flatnonzero(np.abs(gaps) > LONGEST_GAP_S * recording.hz) + 1).tolist()}
    step = max(1, round(recording.hz * BLOCK_S))
    latency: float | None = None
    for begin, end in zip([0, *breaks.tolist()], [*breaks.tolist(), len(samples)], strict=True):
        for at in range(begin, end, step):
            take(stream, samples[at : min(at + step, end)].ravel().tolist(), int(recording.numbers[at]), recording.hz)
            found = verdicts(stream, place, threshold=threshold)
            if min(at + step, end) in ends:
                # Nothing follows, or so late that the stream begins anew.
                found += verdicts(stream, place, threshold=threshold, is_end=True)
            begun_s = (stream.origin - int(recording.numbers[0])) / recording.hz
            for verdict in found:
                is_fall = verdict.verdict == FALL
                if is_fall and latency is None:
                    latency = verdict.latency_s
                yield {"k": recording.k, "alarm": is_fall, **verdict._asdict(), "time_s": round(begun_s + verdict.time_s, 3)}
    summary: dict[str, Any] = {"k": recording.k, "alarm": latency is not None}
    yield summary if latency is None else {**summary, "latency_s": latency}
