"""What the bytes of a BLE device are meant as, written into `Parcel.to`.

    fcd2                           service data of that UUID (a 128-bit UUID as well)
    company:004c@hall=-58          manufacturer data, heard by the receiver "hall" at -58 dBm
    uuids:1810                     an advertisement that names a service and holds nothing: somebody may connect
    value:2a35                     a value of a characteristic, for who has subscribed
    hangup:                        the device ends the connection

and, from the other end, `subscribed:2a35` and `written:2a52`.
"""

from __future__ import annotations

from typing import NamedTuple

KINDS = ("service", "company", "uuids", "value", "hangup", "subscribed", "written")


class OnAir(NamedTuple):
    """`number`: a UUID, or a company in hex. `receiver` empty: the only one. `rssi_dbm` None: whatever the wire says."""

    kind: str
    number: str = ""
    receiver: str = ""
    rssi_dbm: int | None = None

    def __str__(self) -> str:
        where = f"@{self.receiver}={self.rssi_dbm}" if self.rssi_dbm is not None else ""
        return f"{self.kind}:{self.number}{where}"


def read(text: str) -> OnAir:
    """What `Parcel.to` says.

    >>> read("company:004c@hall=-58")
    OnAir(kind='company', number='004c', receiver='hall', rssi_dbm=-58)
    """
    head, _, where = text.partition("@")
    kind, colon, number = head.partition(":")
    if not colon:
        return OnAir("service", head)
    receiver, _, rssi = where.rpartition("=")
    return OnAir(kind, number, receiver, int(rssi) if rssi else None)
