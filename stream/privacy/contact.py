"""E-mail addresses and phone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from forebay.stream.privacy.detector import Column, Span

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# From the @ to the left within Python, because a pattern that begins with the local part tries it at each character.
_DOMAIN: Final = re.compile(
    rf"@(?:{_LABEL}\.){{1,8}}(?:[A-Za-z]{{2,24}}|xn--[A-Za-z0-9-]{{2,59}})(?![\w-]|\.[A-Za-z0-9])"
)
_LOCAL: Final = re.compile(r"[\w!#$%&*+/=?^`{|}~.'-]{1,64}\Z")
MAX_LOCAL: Final = 64
MAX_DIGITS: Final = 15
"""Of a phone number, from E.164."""


class EmailDetector:
    """Finds e-mail addresses: a local part of RFC 5321 without quotes, and a domain with a name at the top."""

    name = "email"

    def find(self, column: Column) -> Iterator[Span]:
        """Yield the places of addresses."""
        text = column.joined
        if "@" not in text:
            return
        for match in _DOMAIN.finditer(text):
            local = _LOCAL.search(text, max(0, match.start() - MAX_LOCAL), match.start())
            if local is None:
                continue
            stripped = local[0].lstrip("'.`={|/-")
            if stripped and not stripped.endswith(".") and ".." not in stripped:
                yield Span(match.start() - len(stripped), match.end())


_NATIONAL_LENGTHS: Final = {
    "1": (10, 10), "7": (10, 10), "20": (8, 10), "27": (9, 9), "30": (10, 10), "31": (9, 9), "32": (8, 9), "33": (9, 9),
    "34": (9, 9), "36": (8, 9), "39": (6, 11), "40": (9, 9), "41": (9, 9), "43": (7, 13), "44": (9, 10), "45": (8, 8),
    "46": (7, 10), "47": (8, 8), "48": (9, 9), "49": (7, 13), "51": (8, 9), "52": (10, 10), "54": (10, 11), "55": (10, 11),
    "56": (9, 9), "57": (8, 10), "60": (7, 10), "61": (9, 9), "62": (8, 12), "63": (8, 10), "64": (8, 10), "65": (8, 8),
    "66": (8, 9), "81": (9, 10), "82": (8, 10), "84": (9, 10), "86": (10, 11), "90": (10, 10), "91": (10, 10), "92": (9, 10),
    "94": (9, 9), "98": (10, 10),
}  # fmt: skip
_ZONE_OF_THREE: Final = re.compile(r"2[1-69]|3[578]|42|5[09]|6[789]|8[0578]|9[679]")


def is_e164(digits: str) -> bool:
    """Return whether the digits after the + are a country code of E.164 and a number of a length that this country uses."""
    for size in (1, 2):
        if (lengths := _NATIONAL_LENGTHS.get(digits[:size])) is not None:
            low, high = lengths
            national = digits[size:]
            if not low <= len(national) <= high or (national[0] == "0" and digits[:2] != "39"):
                return False
            return digits[0] != "1" or (national[0] > "1" and national[3] > "1")
    return _ZONE_OF_THREE.match(digits) is not None and 6 <= len(digits) - 3 <= 12


_INTERNATIONAL: Final = re.compile(r"(?<![\w.+])(?:\+|00(?=[ 1-9]))[ ]?[1-9](?:[ ./-]?\(?\d\)?){6,16}(?![\w]|[.:]\d)")
_NORTH_AMERICAN: Final = re.compile(
    r"(?<![\w.+-])(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[. -])[2-9]\d\d[. -]\d{4}(?![\w-]|\.\d)"
)
_NATIONAL: Final = re.compile(r"(?<![\w.+-])\(?0\d{0,4}\)?(?:[ /-]?\d){5,11}(?![\w-]|\.\d)")
_WORDS: Final = re.compile(
    r"(?<![a-z])(?:phone(?:[ _-]?(?:no|nr|num|number))?|phonenumber|tel|telephone|telefon|mobile|mobil|cell|cellphone|handy|"
    r"fax|call|sms|whatsapp|msisdn|telefoon|téléphone|teléfono|telefono)(?![a-z])"
)
_NO_DIGIT: Final = re.compile(r"\D")


class PhoneDetector:
    """Finds phone numbers: with + or 00 and the length of the country, in the form of North America, or after a word."""

    name = "phone"

    def find(self, column: Column) -> Iterator[Span]:
        """Yield the places of phone numbers."""
        if not column.has_digits:
            return
        text, found = column.joined, []
        if "+" in text or "00" in text:
            for match in _INTERNATIONAL.finditer(text):
                digits = _NO_DIGIT.sub("", match[0].replace("(0)", ""))
                if match[0][0] == "+":
                    is_phone = is_e164(digits)
                else:  # 00 also begins many ids: it needs the spaces of a phone number, or a word
                    is_phone = is_e164(digits[2:]) and (" " in match[0] or self._has_word(column, match.start()))
                if is_phone:
                    found.append(Span(*match.span()))
        found += [Span(*match.span()) for match in _NORTH_AMERICAN.finditer(text)]
        if column.has_words:
            found += [
                Span(*match.span()) for match in _NATIONAL.finditer(text) if self._has_word(column, match.start())
            ]
            found += [
                span
                for span in column.tokens
                if text[span.start : span.end].isdigit()
                and span.end - span.start <= MAX_DIGITS
                and self._has_word(column, span.start)
            ]
        yield from sorted(set(found))

    @staticmethod
    def _has_word(column: Column, position: int) -> bool:
        return _WORDS.search(column.context_of(position)) is not None
