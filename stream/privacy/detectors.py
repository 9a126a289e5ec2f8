"""The detectors by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from forebay.stream.privacy.addresses import AddressDetector
from forebay.stream.privacy.bank import CARD, IbanDetector
from forebay.stream.privacy.contact import EmailDetector, PhoneDetector
from forebay.stream.privacy.detector import Detector
from forebay.stream.privacy.national import COUNTRIES
from forebay.stream.privacy.numbers import NumberDetector
from forebay.stream.privacy.person_names import NameDetector

NAMES: Final = ("email", "phone", "iban", "card", "ip", "national_id", "name")


def build_detectors(
    names: Sequence[str] = NAMES,
    *,
    countries: Sequence[str] = tuple(COUNTRIES),
    person_names: Iterable[str] = (),
    accepts_bare: bool = False,
) -> list[Detector]:
    """Return the detectors of these names.

    countries: whose national ids are found.
    person_names: the list for `name`, without which nothing is found.
    accepts_bare: as in `NumberDetector`.
    """
    built: list[Detector] = []
    for name in names:
        if name == "email":
            built.append(EmailDetector())
        elif name == "phone":
            built.append(PhoneDetector())
        elif name == "iban":
            built.append(IbanDetector())
        elif name == "card":
            built.append(NumberDetector("card", CARD, accepts_bare=accepts_bare))
        elif name == "ip":
            built.append(AddressDetector())
        elif name == "national_id":
            built += [
                NumberDetector("national_id", COUNTRIES[country], accepts_bare=accepts_bare) for country in countries
            ]
        elif name == "name" and (listed := list(person_names)):
            built.append(NameDetector(listed))
    return built
