"""`anhu enroll`: a credential of its own for a device that comes over MQTT."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gateway import accounts
from gateway.cli.text import example, print_json
from gateway.errors import AnhuError
from gateway.settings import load

DEFAULT_SETTINGS = Path("/etc/anhu/anhu.toml")


def add(verbs: Any) -> None:
    """Register the verb."""
    enroll = verbs.add_parser(
        "enroll",
        help="make a credential for a device that comes over MQTT; a new one ends the old one",
        description="Writes the hash into mqtt.accounts_file and prints user and password once. A running gateway sees it at once.",
        epilog=example("anhu enroll settop:tv-1 --file accounts"),
    )
    enroll.add_argument("device", help="id of the device, with or without its driver (settop:tv-1 or tv-1)")
    enroll.add_argument("--file", type=Path, help="accounts file (default: mqtt.accounts_file of the settings)")
    enroll.add_argument("--settings", type=Path, default=DEFAULT_SETTINGS, help=f"settings file (default {DEFAULT_SETTINGS})")
    enroll.add_argument("--password-file", type=Path, help="use the password in this file instead of a random one")
    enroll.add_argument("--remove", action="store_true", help="take the credential away")
    enroll.set_defaults(handler=_enroll)


def _enroll(args: argparse.Namespace) -> int:
    path = _file(args)
    user = str(args.device).split(":", 1)[-1]
    if args.remove:
        accounts.dismiss(path, user)
        print(f"{user}: credential removed", file=sys.stderr)
        return 0
    password = None
    if args.password_file is not None:
        try:
            password = args.password_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AnhuError(f"{args.password_file}: cannot be read: {error}", hint="put the password alone into that file") from None
    print_json({"user": user, "password": accounts.enroll(path, user, password), "file": str(path)})
    return 0


def _file(args: argparse.Namespace) -> Path:
    if args.file is not None:
        return Path(args.file)
    settings = load(args.settings)
    if not settings.mqtt.accounts_file:
        raise AnhuError("mqtt.accounts_file: not set", hint="set it in the settings, or give --file")
    return settings.path(settings.mqtt.accounts_file)
