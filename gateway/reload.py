"""Hot reload: the devices, people and rules files are read again; incidents, timers and connections stay.

All or nothing: every file is checked before anything is taken, so a fault leaves the old ones in force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from gateway import inventory, people
from gateway.errors import Fault, SettingsError
from gateway.rules import all_rules
from gateway.rules.settings import RuleSettingsError, Tables, read_tables
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.app import Gateway


def rule_tables(settings: Settings) -> Tables | None:
    """The settings of the rules, None without a file. Raises SettingsError with every fault."""
    if not settings.rules.file:
        return None
    path = settings.path(settings.rules.file)
    try:
        return read_tables(path.read_text("utf-8"), all_rules(), file=str(path))
    except RuleSettingsError as error:
        raise SettingsError([Fault("", 0, fault) for fault in error.faults]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([Fault(str(path), 0, f"cannot be read: {error}")]) from None


def reload(gateway: Gateway) -> dict[str, Any]:
    """Read the files again and take them. Raises SettingsError, and then nothing has changed."""
    settings = gateway.settings
    rows = inventory.read(settings.path(settings.devices.file)) if settings.devices.file else []
    known = people.read_people(settings.path(settings.rules.people_file)) if settings.rules.people_file else {}
    tables = rule_tables(settings)
    gateway.people = known
    gateway.upstream.registry.take(rows)
    gateway.directory.replace(*people.tables_of(gateway.inventory, known))
    if gateway.rule_settings is not None:
        gateway.rule_settings.replace(tables or {})
    structlog.get_logger().info("files read again", devices=len(rows), people=len(known))
    return {"devices": len(rows), "people": len(known), "rules": bool(tables)}
