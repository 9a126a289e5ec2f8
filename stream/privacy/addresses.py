"""Addresses of machines: IPv4 and IPv6, but not the numbers of versions."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from forebay.stream.privacy.detector import Column, Span

_OCTET: Final = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_V4: Final = re.compile(rf"(?<![\w.+-])(?:{_OCTET}\.){{3}}{_OCTET}(?!\w|[.-]\w)")
_V6: Final = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:]|\.\d)")
_VERSION: Final = re.compile(
    r"(?:(?<![a-z])(?:v|ver|version|versions|release|build|firmware|driver|rev|revision|update|upgrade|sdk|api|oid|section|"
    r"chapter)[ .:=_-]*|[a-z]/)$"
)
_ADDRESS: Final = re.compile(
    r"(?<![a-z])(?:ip|ips|ipv4|ip[ _-]?addr(?:ess)?|addr|address|host|client|remote|peer|source|src|dst|from|server|gateway|"
    r"dns|ping|x-forwarded-for|forwarded|x-real-ip)(?![a-z])"
)
_PRIVATE: Final = re.compile(r"192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\.|127\.0\.")
_MIN_DIGITS: Final = 8
"""Digits of an IPv4 address that needs no word before it: versions of four parts have fewer."""


class AddressDetector:
    """Finds IP addresses. An IPv4 address with few digits looks like a version, and needs a word before it, such as `ip`."""

    name = "ip"

    def find(self, column: Column) -> Iterator[Span]:
        """Yield the places of addresses."""
        text, found = column.joined, []
        if column.has_digits and "." in text:
            found = [Span(*match.span()) for match in _V4.finditer(text) if self._is_address(column, match)]
        if "::" in text or text.count(":") >= 7:
            found += [Span(*match.span()) for match in _V6.finditer(text) if _is_v6(match[0])]
        yield from sorted(found)

    @staticmethod
    def _is_address(column: Column, match: re.Match[str]) -> bool:
        address = match[0]
        if address.startswith("0."):
            return False
        context = column.context_of(match.start())
        if _VERSION.search(context):
            return False
        return (
            len(address) - 3 >= _MIN_DIGITS
            or _PRIVATE.match(address) is not None
            or _ADDRESS.search(context) is not None
        )


def _is_v6(text: str) -> bool:
    if sum(character != ":" for character in text) < 4 or text.count(":") < 3:
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
