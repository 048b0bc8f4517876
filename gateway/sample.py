"""The sample settings file: every key with its default, its type and one line of meaning. `config/anhu.toml` is this text."""

from __future__ import annotations

from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from gateway.settings import Settings, help_of, type_name

HEAD = """# Settings of an Anhu gateway. Every key is shown with its default; remove the # to change one.
# Check a file with: anhu check --settings FILE        Relative paths start at the folder of this file.
"""


def sample() -> str:
    """The whole file."""
    parts = [HEAD]
    hints = get_type_hints(Settings)
    for field in msgspec.structs.fields(Settings):
        if field.name == "base":
            continue
        hint = hints[field.name]
        repeated = get_origin(hint) is list
        section: Any = get_args(hint)[0] if repeated else hint
        parts.append(_section(field.name, section, repeated=repeated))
    return "\n".join(parts)


def _section(name: str, section: Any, *, repeated: bool) -> str:
    text = (section.__doc__ or "").strip()
    header = f"[[{name}]]" if repeated else f"[{name}]"
    lines = [f"# {text}" + (" May stand several times." if repeated else ""), ("# " if repeated else "") + header]
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        shown = "(must be given)" if default is msgspec.NODEFAULT else _toml(default)
        lines.append(f"# {field.name} = {shown}".ljust(44) + f"  # {type_name(hints[field.name])}: {help_of(section, field.name)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{}"
    return msgspec.json.encode(value).decode().replace('","', '", "')
