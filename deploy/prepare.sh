#!/bin/sh
# Sets up what `make` needs on a bare Debian 12 (or any Linux with Python 3.11 or newer).
#   prepare.sh venv run|test   a virtual environment in .venv with pinned, hash-checked packages
#   prepare.sh packages        Debian packages of the tests; only as root, without root the tests that need them skip
set -eu
cd "$(dirname "$0")/.."
PACKAGES="mosquitto mosquitto-clients dbus-daemon python3-venv gammu nbdkit nbdfuse"

say() { printf '%s\n' "$*" >&2; }

apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    for attempt in 1 2; do
        if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1; then return 0; fi
        apt-get update -qq >/dev/null 2>&1 || true
    done
    return 1
}

python() {
    for name in python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}

case "${1:-}" in
venv)
    interpreter=$(python) || { apt python3 python3-venv && interpreter=$(python); } || {
        say "anhu: Python 3.11 or newer expected, none found"
        say "Try: apt-get install python3 python3-venv"
        exit 1
    }
    if [ ! -x .venv/bin/pip ]; then
        rm -rf .venv
        "$interpreter" -m venv .venv 2>/dev/null || { apt python3-venv && rm -rf .venv && "$interpreter" -m venv .venv; } || {
            say "anhu: $interpreter cannot make a virtual environment"
            say "Try: apt-get install python3-venv"
            exit 1
        }
    fi
    say "anhu: installing pinned packages into .venv (about a minute)"
    .venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/build.txt
    .venv/bin/pip install -q --disable-pip-version-check --require-hashes --no-build-isolation -r "requirements/$2.txt"
    .venv/bin/pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .
    ;;
packages)
    missing=""
    for package in $PACKAGES; do
        dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
    done
    [ -n "$missing" ] || exit 0
    # shellcheck disable=SC2086
    if apt $missing; then
        # The distribution starts a broker of its own on 1883: the tests bring theirs.
        service mosquitto stop >/dev/null 2>&1 || true
    else
        say "anhu: not installed:$missing (tests that need them skip)"
        say "Try: as root, apt-get install$missing"
    fi
    ;;
*)
    say "usage: prepare.sh venv run|test | packages"
    exit 2
    ;;
esac
