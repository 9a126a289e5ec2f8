"""International bank account numbers and payment cards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from forebay.stream.privacy.checksums import luhn, mod_97
from forebay.stream.privacy.detector import Column, Span
from forebay.stream.privacy.numbers import NumberRule

_LENGTHS: Final = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 FR27 "
    "GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 "
    "MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 "
    "TN24 TR26 UA29 VA22 VG24 XK20"
)
IBAN_LENGTHS: Final = {entry[:2]: int(entry[2:]) for entry in _LENGTHS.split()}
"""Length by country, from the IBAN registry of SWIFT."""

_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])(?:[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,33}|[a-z]{2}\d{2}(?: ?[a-z0-9]){11,33})")


class IbanDetector:
    """Finds IBANs by country, length and the check digits of ISO 13616, in groups of four or without spaces."""

    name = "iban"

    def find(self, column: Column) -> Iterator[Span]:
        """Yield the places of valid IBANs."""
        if not column.has_digits:
            return
        text = column.joined
        for match in _IBAN.finditer(text):
            length = IBAN_LENGTHS.get(match[0][:2].upper())
            if length is None:
                continue
            # The pattern may run on into the next word: the country says where the number ends.
            places = [place for place in range(match.start(), match.end()) if text[place] != " "]
            if len(places) < length:
                continue
            end = places[length - 1] + 1
            if end < len(text) and text[end].isalnum():
                continue
            number = "".join(text[place] for place in places[:length])
            if mod_97(number[4:] + number[:4]) == 1:
                yield Span(match.start(), end)


_ISSUERS: Final = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}(?:\d{3})?"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12}(?:\d{3})?"  # JCB
    r"|3(?:0[0-5]|[689]\d)\d{11}"  # Diners Club
    r"|62\d{14}(?:\d{3})?"  # UnionPay
    r"|(?:50[1-9]\d|5[6-9]\d\d|6[37]\d\d)\d{8,15}"  # Maestro
)


def is_card(digits: str) -> bool:
    """Return whether a number has an issuer's prefix, its length, and a valid check digit."""
    return _ISSUERS.fullmatch(digits) is not None and luhn(digits) and len(set(digits)) > 1


CARD: Final = NumberRule(
    written=r"\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|3[47]\d\d([ -])\d{6}\2\d{5}|3[068]\d\d([ -])\d{6}\3\d{4}",
    bare=r"\d{12,19}",
    words=r"card(?:[ _-]?(?:no|nr|num|number))?|cards|cc|pan|visa|mastercard|maestro|amex|credit|debit|kreditkarte|karte|carte|"
    r"tarjeta|carta|payment|ccn|cardnumber|creditcard",
    is_valid=is_card,
)
