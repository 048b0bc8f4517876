"""Which client stands behind a link: our own, or paho for brokers that need something odd."""

from __future__ import annotations

from gateway.links.contract import Link, LinkEvents, LinkOptions
from gateway.links.native import NativeLink


def make_link(kind: str, options: LinkOptions, events: LinkEvents) -> Link:
    """A link of `[mqtt] link`: `native` or `paho`."""
    if kind == "paho":
        from gateway.links.paho import PahoLink

        return PahoLink(options, events)
    return NativeLink(options, events)
