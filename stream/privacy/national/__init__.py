"""National identity numbers, a module for each country. A module has its code and its rule; `COUNTRIES` names all of them."""

from __future__ import annotations

from typing import Final

from forebay.stream.privacy.national import de, es, fr, italy, nl, pl, us
from forebay.stream.privacy.numbers import NumberRule

COUNTRIES: Final[dict[str, NumberRule]] = {
    "de": de.RULE,
    "es": es.RULE,
    "fr": fr.RULE,
    "it": italy.RULE,
    "nl": nl.RULE,
    "pl": pl.RULE,
    "us": us.RULE,
}
