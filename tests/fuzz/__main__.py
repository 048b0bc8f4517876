"""Coverage-guided fuzzing of drivers (needs atheris, which `make fuzz` installs).

    python -m tests.fuzz [--seconds 20] [DRIVER ...]      one child process for each driver; exit 1 where one fails
    python -m tests.fuzz --play DRIVER FILE               play one kept input again

Starting points are made from the driver's own vectors in a temporary folder; a failing input is kept as `fuzz-<driver>-*`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

INPUT_LIMIT = 8192
HANG_S = 10


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="coverage-guided fuzzing of drivers")
    parser.add_argument("drivers", nargs="*", help="names; all without")
    parser.add_argument("--seconds", type=int, default=20, help="for each driver")
    parser.add_argument("--play", nargs=2, metavar=("DRIVER", "FILE"), help="play one input without a fuzzer")
    parser.add_argument("--one", metavar="DRIVER", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        fuzz(args.one, args.corpus, args.seconds)
        return 0
    from drivers import registry
    from tests.fuzz.target import Target

    if args.play:
        print(Target(args.play[0]).run(Path(args.play[1]).read_bytes()))
        return 0
    failed = [name for name in args.drivers or registry.names() if not child(name, args.seconds)]
    print("failed: " + ", ".join(failed) if failed else "no driver failed")
    return 1 if failed else 0


def child(name: str, seconds: int) -> bool:
    """Fuzz one driver in a process of its own."""
    from tests.fuzz.target import Target

    with tempfile.TemporaryDirectory() as folder:
        for index, data in enumerate(Target(name).corpus()):
            (Path(folder) / f"{index:04d}").write_bytes(data)
        command = [sys.executable, "-m", "tests.fuzz", "--one", name, "--corpus", folder, "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    lines = [line for line in done.stderr.splitlines() if line.startswith(("#", "Done", "stat::"))]
    print(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'} {lines[-1] if lines else ''}", flush=True)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", flush=True)
    return done.returncode == 0


def fuzz(name: str, corpus: str, seconds: int) -> None:
    """In the child: instrument, then run until the time is over or something breaks."""
    import atheris

    with atheris.instrument_imports(include=["drivers", "protocols"]):
        from tests.fuzz.target import Target

        target = Target(name)

    def one(data: bytes) -> None:
        target.run(data)

    limits = [f"-max_total_time={seconds}", f"-max_len={INPUT_LIMIT}", f"-timeout={HANG_S}", "-rss_limit_mb=1024"]
    atheris.Setup([name, *limits, f"-artifact_prefix=fuzz-{name}-", corpus], one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
