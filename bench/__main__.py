"""`python -m bench [NAME ...]`: run measures and print one JSON object per line; without names all of them."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from pathlib import Path

import structlog


def main() -> int:
    """Run the named measures."""
    known = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    names = sys.argv[1:] or known
    # stdout is one JSON object a line.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for name in names:
        if name not in known:
            print(f"bench: unknown measure {name!r}; known: {', '.join(known)}", file=sys.stderr)
            return 2
        found = importlib.import_module(f"bench.{name}").measure()
        print(json.dumps({"bench": name, **found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
