"""Credentials of devices that come over MQTT, and what each of them may say and hear.

The file has one `user:hash` a line in mosquitto's own format (`$7$rounds$salt$hash`, PBKDF2-SHA512), so that one file serves the
native listener and the embedded mosquitto. The user is the device's id without its driver (`tv-1` for `settop:tv-1`).

    anhu/tv/+/up, anhu/tv/+/down    a driver's topic: the device of account tv-1 may use anhu/tv/tv-1/... and nothing else
    [mqtt] rights                   accounts that speak for many devices (a Zigbee coordinator) have filters of their own
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from gateway import secrets as vault
from gateway.errors import AnhuError
from protocols.errors import RemoteProtocolError
from protocols.mqtt.topic import plain_id
from protocols.mqtt.wire_properties import PacketError, check_filter

GATEWAY_USER, DEVICE_USER = "gateway", "devices"
RESERVED = (GATEWAY_USER, DEVICE_USER)
ROUNDS = 1000
"""Passwords are made by us, 144 bits: nothing to guess; rounds only matter for the ones that an installer chose."""
SHORTEST_PASSWORD = 12
MOST_KNOWN = 10_000
"""Answers about topics that are remembered."""


class Account(NamedTuple):
    """Who is connected. `rights` None: its own topics; `shared`: every topic of the drivers (no accounts file)."""

    user: str
    rights: tuple[str, ...] | None = None
    shared: bool = False


class Accounts:
    """The accounts of one gateway. The file is read again when it changes; `check` takes about a millisecond of CPU."""

    def __init__(self, path: Path | None, *, shared_password: str = "", rights: dict[str, list[str]] | None = None) -> None:
        self.path = path
        self._shared = shared_password
        self._rights = rights or {}
        self._hashes: dict[str, str] = {}
        self._stamp: tuple[int, int] | None = None
        self._key = os.urandom(16)
        self._proven: dict[str, tuple[str, bytes]] = {}
        if path is not None:
            self._refresh()

    def check(self, user: str | None, password: bytes | None) -> Account | None:
        """The account of a user and password; None where they do not fit. Any thread."""
        user, password = user or "", password or b""
        if self.path is None:
            good = user == DEVICE_USER and hmac.compare_digest(password, self._shared.encode())
            return Account(user, shared=True) if good and self._shared else None
        self._refresh()
        stored = self._hashes.get(user, "")
        mark = hashlib.blake2b(password, key=self._key, digest_size=16).digest()
        # A device that reconnects often is not hashed a thousand times each time.
        known = self._proven.get(user)
        if known is None or known[0] != stored or not hmac.compare_digest(known[1], mark):
            if not verify(password, stored or _NOBODY) or not stored:
                return None
            self._proven[user] = (stored, mark)
        rights = self._rights.get(user)
        return Account(user, tuple(rights) if rights is not None else None)

    def users(self) -> dict[str, str]:
        """Every user with its hash."""
        if self.path is not None:
            self._refresh()
        return dict(self._hashes)

    def _refresh(self) -> None:
        assert self.path is not None
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._hashes, self._stamp = {}, None
            return
        stamp = (stat.st_mtime_ns, stat.st_size)
        if stamp != self._stamp:
            self._hashes, self._stamp = read(self.path), stamp


def read(path: Path) -> dict[str, str]:
    """User to hash. Raises AnhuError naming the line that is wrong."""
    if not path.exists():
        return {}
    if path.stat().st_mode & 0o007:
        raise AnhuError(f"{path}: others can read these credentials", hint=f"chmod 600 {path}")
    found = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        user, colon, stored = line.partition(":")
        if not colon or fault_of(user) or not stored.startswith("$7$"):
            raise AnhuError(f"{path}:{number}: expected user:$7$rounds$salt$hash", hint="anhu enroll DEVICE writes such lines")
        found[user] = stored
    return found


def enroll(path: Path, user: str, password: str | None = None) -> str:
    """Give a device a credential (a new one ends the old one); its password. Raises AnhuError."""
    fault = fault_of(user)
    if fault:
        raise AnhuError(fault, hint="use the device's id as the devices file has it, without the driver")
    if password is not None and len(password) < SHORTEST_PASSWORD:
        raise AnhuError(f"password: at least {SHORTEST_PASSWORD} characters expected", hint="leave it out: a random one is made")
    password = password or secrets.token_urlsafe(vault.PASSWORD_BYTES)
    _rewrite(path, {**read(path), user: hashed(password)})
    return password


def dismiss(path: Path, user: str) -> None:
    """Take a device's credential away. Raises AnhuError where it has none."""
    users = read(path)
    if users.pop(user, None) is None:
        raise AnhuError(f"{user}: has no credential in {path}", hint=f"cut -d: -f1 {path}")
    _rewrite(path, users)


def _rewrite(path: Path, users: dict[str, str]) -> None:
    """All or nothing: a power cut must not lock every device out."""
    fresh = path.with_suffix(path.suffix + ".new")
    vault.write(fresh, "".join(f"{user}:{stored}\n" for user, stored in sorted(users.items())))
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)


def fault_of(user: str) -> str:
    """Why this cannot be the user of a device: wildcards, control characters, slashes, too long, or ours. Empty when it can."""
    try:
        plain_id(user)
    except RemoteProtocolError as error:
        return error.detail
    return f"{user} is a user of the gateway itself" if user in RESERVED else ""


def hashed(password: str, *, rounds: int = ROUNDS) -> str:
    """mosquitto's format: PBKDF2-SHA512, `$7$rounds$salt$hash` (mosquitto_passwd)."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def verify(password: bytes, stored: str) -> bool:
    """Whether a password fits a stored hash."""
    try:
        _, _, rounds, salt, digest = stored.split("$")
        made = hashlib.pbkdf2_hmac("sha512", password, base64.b64decode(salt), int(rounds))
        return hmac.compare_digest(made, base64.b64decode(digest))
    except ValueError:
        return False


_NOBODY = hashed("nobody")
"""Checked where the user is unknown, so that the answer takes as long."""


class TopicRights:
    """What an account may publish and subscribe; `filters` are those of the drivers at this moment."""

    def __init__(self, filters: Callable[[], Iterable[str]]) -> None:
        self._filters = filters
        self._known: dict[tuple[str, str], bool] = {}

    def changed(self) -> None:
        """The drivers have other filters now."""
        self._known.clear()

    def may_publish(self, account: Account, topic: str) -> bool:
        """Whether the topic is the account's own."""
        key = (account.user, topic)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            found = self._known[key] = self._may_publish(account, topic)
        return found

    def _may_publish(self, account: Account, topic: str) -> bool:
        if account.shared:
            return any(matches(pattern, topic) for pattern in self._filters())
        if account.rights is not None:
            return any(matches(right, topic) for right in account.rights)
        return any(matches(own, topic) for own in self.own(account.user))

    def may_subscribe(self, account: Account, pattern: str) -> bool:
        """Whether everything that the filter could bring is the account's own."""
        if account.shared:
            return not pattern.startswith("$")
        if account.rights is not None:
            return any(covers(right, pattern) for right in account.rights)
        return any(covers(below, pattern) for below in self.below(account.user))

    def own(self, user: str) -> list[str]:
        """The drivers' filters with the user in the place of their first wildcard."""
        return [own for own, _ in (_owned(pattern, user) for pattern in self._filters()) if own]

    def below(self, user: str) -> list[str]:
        """Everything below the user's own level: where its commands come."""
        return list(dict.fromkeys(below for _, below in (_owned(pattern, user) for pattern in self._filters()) if below))


def _owned(pattern: str, user: str) -> tuple[str, str]:
    levels = pattern.split("/")
    place = next((index for index, level in enumerate(levels) if level in ("+", "#")), None)
    if place is None:
        if user not in levels:
            return "", ""
        place = levels.index(user)
        own = pattern
    else:
        own = "/".join([*levels[:place], user, *(["#"] if levels[place] == "#" else levels[place + 1 :])])
    if place == 0 and levels[0] == "#":
        own = f"{user}/#"
    return own, "/".join([*levels[:place], user, "#"])


def rights_fault(rights: dict[str, list[str]]) -> list[str]:
    """What is wrong with `[mqtt] rights`."""
    faults = [f"mqtt.rights.{user}: {fault_of(user)}" for user in rights if fault_of(user)]
    for user, patterns in rights.items():
        for pattern in patterns:
            try:
                check_filter(pattern)
            except PacketError as error:
                faults.append(f"mqtt.rights.{user}: {error.detail}")
    return faults


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic fits a filter (MQTT 4.7). A leading `$` fits no wildcard.

    >>> matches("anhu/+/up", "anhu/7/up"), matches("anhu/#", "anhu/7/up"), matches("#", "$SYS/x")
    (True, True, False)
    """
    if pattern == topic:
        return True
    if topic.startswith("$") and pattern[:1] in "+#":
        return False
    want, have = pattern.split("/"), topic.split("/")
    for index, level in enumerate(want):
        if level == "#":
            return True
        if index >= len(have) or (level not in ("+", have[index])):
            return False
    return len(want) == len(have)


def covers(right: str, pattern: str) -> bool:
    """Whether everything that fits `pattern` fits `right`.

    >>> covers("a/tv/#", "a/tv/+/x"), covers("a/+/x", "a/b/x"), covers("a/tv/#", "a/+/x"), covers("a/+", "a/#")
    (True, True, False, False)
    """
    if pattern.startswith("$") and not right.startswith("$"):
        return False
    want, have = right.split("/"), pattern.split("/")
    for index, level in enumerate(want):
        if level == "#":
            return True
        if index >= len(have) or have[index] == "#":
            return False
        if level != "+" and level != have[index]:
            return False
    return len(want) == len(have)
