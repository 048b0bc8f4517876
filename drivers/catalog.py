"""The device tables of the documentation, rendered from what the drivers say of themselves."""

from __future__ import annotations

from drivers import registry

MARK = ("<!-- devices -->", "<!-- /devices -->")
"""README keeps the table between these; a test pins it (`python -m drivers.catalog README.md README.zh.md` writes it)."""
HEADS = {"en": "| driver | devices | wire | commands |\n|---|---|---|---|", "zh": "| 驱动 | 设备 | 接口 | 指令 |\n|---|---|---|---|"}


def table(language: str = "en") -> str:
    """One row per driver."""
    rows = [HEADS[language]]
    for name in registry.names():
        info = registry.load(name).info
        wires = ", ".join(transport.value for transport in info.transports)
        rows.append(f"| [`{name}`](drivers/{name}/README.md) | {info.title} | {wires} | {len(info.commands) or '-'} |")
    return "\n".join(rows)


def filled(text: str, language: str) -> str:
    """A document with the table between its marks brought up to date."""
    before, _, rest = text.partition(MARK[0])
    _, _, after = rest.partition(MARK[1])
    return f"{before}{MARK[0]}\n{table(language)}\n{MARK[1]}{after}"


if __name__ == "__main__":
    import sys
    from pathlib import Path

    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(filled(path.read_text("utf-8"), "zh" if ".zh." in name else "en"), "utf-8")
