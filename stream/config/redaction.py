"""Hide secrets within values such as URLs and commands. Accepts any text and never raises."""

from __future__ import annotations

import re
import shlex
from typing import Final

HIDDEN: Final = "********"

_URL: Final = re.compile(r"(https?://)([^/?#\s]*)(/[^?#\s]*)?([?#]\S*)?")


def without_login(url: str) -> str:
    """Hide possible credentials in a URL: user, password, query and fragment."""
    if (parts := _split(url)) is None:
        return HIDDEN
    origin, path, rest = parts
    return origin + path + (f"?{HIDDEN}" if rest else "")


def only_host(url: str) -> str:
    """Hide all but the host of a URL: the path of a webhook is a password."""
    if (parts := _split(url)) is None:
        return HIDDEN
    origin, path, rest = parts
    return origin + (f"/{HIDDEN}" if path.strip("/") or rest else path)


def _split(url: str) -> tuple[str, str, str] | None:
    """Return scheme and host with the login hidden, the path, and the rest of a URL; None if it is not one."""
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, authority, path, rest = (part or "" for part in match.groups())
    login, at, host = authority.rpartition("@")
    # An @ after the host may end a password that contains a slash.
    if not host or "@" in path + rest:
        return None
    return f"{scheme}{HIDDEN if login else ''}{at}{host}", path, rest


def only_program(command: str) -> str:
    """Hide the arguments of a command."""
    try:
        program, *arguments = shlex.split(command)
    except ValueError:
        return HIDDEN
    return f"{shlex.quote(program)} {HIDDEN}" if arguments else program


def without_arguments(text: str, command: list[str]) -> str:
    """Hide the arguments of a command in its output."""
    # Short arguments are options and numbers; hiding them would make the text unreadable.
    for argument in sorted(command[1:], key=len, reverse=True):
        if len(argument) >= 4:
            text = text.replace(argument, HIDDEN)
    return text
