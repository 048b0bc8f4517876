"""Verbs for those who add devices: driver new, driver test; schema."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import drivers
from drivers import conformance, fault_matrix, registry
from drivers.api import Driver
from gateway.cli.text import example
from gateway.errors import AnhuError
from gateway.uplinks import asyncapi

_NAME = re.compile(r"^[a-z][a-z0-9_]{1,31}$")


def add(verbs: Any) -> None:
    """Register the verbs."""
    driver = verbs.add_parser("driver", help="make or test a driver", epilog=example("anhu driver new bed_scale"))
    what = driver.add_subparsers(dest="what", metavar="new|test", required=True)

    new = what.add_parser("new", help="copy the template", epilog=example("anhu driver new bed_scale --into ."))
    new.add_argument("name", help="name of the device family, snake_case")
    new.add_argument("--into", type=Path, default=Path(), help="folder in which the driver's folder is made (default: here)")
    new.set_defaults(handler=_new)

    test = what.add_parser("test", help="run vectors and conformance suite", epilog=example("anhu driver test drivers/_template"))
    test.add_argument("folder", help="folder of a driver, the name of an installed one, or a mapping file (TOML) of mqtt_json")
    test.add_argument("--faults", action="store_true", help="also the fault matrix; the report ends with a tier: bronze, silver or gold")
    test.set_defaults(handler=_test)

    schema = verbs.add_parser(
        "schema",
        help="the upstream contract: JSON Schemas, AsyncAPI document",
        epilog=example("anhu schema --asyncapi > anhu.asyncapi.json"),
    )
    schema.add_argument("name", nargs="?", default="event", choices=asyncapi.NAMES, help="message (default: event)")
    schema.add_argument("--asyncapi", action="store_true", help="the whole contract as an AsyncAPI 3 document")
    schema.add_argument("--vocabulary", action="store_true", help="every kind, quantity and verb with unit, lane, severity and names")
    schema.set_defaults(handler=_schema)


def _new(args: argparse.Namespace) -> int:
    if not _NAME.match(args.name):
        raise AnhuError(f"name: expected snake_case, at most 32 characters, got {args.name!r}", hint="anhu driver new bed_scale")
    if args.name in registry.names():
        raise AnhuError(f"a driver called {args.name} is installed already", hint="choose another name; anhu drivers")
    target = args.into / args.name
    if target.exists():
        raise AnhuError(f"{target}: exists already", hint="choose another name or folder")
    template = Path(drivers.__file__).parent / "_template"
    shutil.copytree(template, target, ignore=shutil.ignore_patterns("__pycache__"))
    source = target / "driver.py"
    source.write_text(source.read_text("utf-8").replace('name="_template"', f'name="{args.name}"'), "utf-8")
    print(target)
    print(f"Next: edit {source}, then: anhu driver test {target}", file=sys.stderr)
    return 0


def _test(args: argparse.Namespace) -> int:
    folder = Path(args.folder)
    if folder.suffix == ".toml":
        return _test_mapping(folder)
    if not (folder / "driver.py").exists():
        if args.folder not in registry.names():
            raise AnhuError(f"{args.folder}: no driver.py there, and no driver of that name", hint="anhu driver test FOLDER; anhu drivers")
        folder = registry.folder(args.folder)
    driver = _load(folder)
    failed: list[fault_matrix.Tier] = []
    total = 0
    try:
        for graded in _checks(driver, folder, faults=args.faults):
            total += 1
            complaint = _complaint(graded.check)
            print(f"FAIL  {graded.check.name}\n      {complaint}" if complaint else f"ok    {graded.check.name}")
            failed += [graded.tier] if complaint else []
    except (AssertionError, OSError) as error:
        raise AnhuError(f"{folder}: {error}", hint="each line of vectors.jsonl is one JSON object") from None
    print(f"{driver.info.name}: {total - len(failed)} of {total} checks hold")
    if args.faults:
        tier = fault_matrix.tier_of(set(failed))
        print(f"tier: {tier.value}")
        # What gold wants beyond silver (a recording, a command) is no fault of the driver.
        return 0 if tier in (fault_matrix.Tier.SILVER, fault_matrix.Tier.GOLD) else 1
    return 1 if failed else 0


def _checks(driver: type[Driver], folder: Path, *, faults: bool) -> Iterator[fault_matrix.Graded]:
    if faults:
        return fault_matrix.matrix(driver, folder)
    return (fault_matrix.Graded(fault_matrix.Tier.BRONZE, check) for check in conformance.checks(driver, folder))


def _complaint(check: conformance.Check) -> str:
    """What does not hold; empty when all is well."""
    try:
        check.run()
    except AssertionError as error:
        return str(error) or "does not hold"
    except Exception as error:  # noqa: BLE001 - the driver under test may raise anything, that is a finding
        return f"raised {type(error).__name__}: {error}"
    return ""


def _test_mapping(path: Path) -> int:
    """Run the vectors that stand in a mapping file."""
    from drivers.api import OptionError
    from drivers.mqtt_json.proof import prove

    try:
        proofs = prove(path.read_text("utf-8"))
    except OptionError as error:
        raise AnhuError("\n".join(f"{path}: {fault}" for fault in error.faults), hint="drivers/mqtt_json/README.md") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AnhuError(f"{path}: {error}", hint="give a mapping file") from None
    for proof in proofs:
        print(f"FAIL  {proof.name}\n      {proof.fault}" if proof.fault else f"ok    {proof.name}")
    failed = sum(1 for proof in proofs if proof.fault)
    print(f"{path.name}: {len(proofs) - failed} of {len(proofs)} vectors hold")
    return 1 if failed else 0


def _load(folder: Path) -> type[Driver]:
    own = Path(drivers.__file__).parent.resolve()
    if folder.resolve().parent == own and not folder.name.startswith("_"):
        return registry.load(folder.name)
    name = f"anhu_driver_under_test_{folder.resolve().name}"
    spec = importlib.util.spec_from_file_location(name, folder / "driver.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        driver: type[Driver] = module.DRIVER
    except Exception as error:
        raise AnhuError(
            f"{folder / 'driver.py'}: cannot be imported: {type(error).__name__}: {error}", hint="it must define DRIVER"
        ) from error
    return driver


def _schema(args: argparse.Namespace) -> int:
    document = asyncapi.asyncapi() if args.asyncapi else asyncapi.vocabulary() if args.vocabulary else asyncapi.schema(args.name)
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n")
    return 0
