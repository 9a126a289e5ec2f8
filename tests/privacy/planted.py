"""Valid personal data of eight kinds, and numbers without any, made from a seed."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Callable, Mapping
from typing import Final

from forebay.stream.privacy.bank import IBAN_LENGTHS
from forebay.stream.privacy.checksums import luhn, mod_97, weighted

PERSONS: Final = ("Anna Schmidt", "Jan van Dijk", "María García", "O'Brien Sean", "Żaneta Nowak")


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=count))


def email(rng: random.Random) -> str:
    domain = f"mail-{_digits(rng, 2)}.example.{rng.choice(('org', 'co.uk', 'de'))}"
    return f"user{_digits(rng, 5)}.{rng.choice(('a', 'bc'))}+x@{domain}"


def phone(rng: random.Random) -> str:
    return rng.choice(
        (
            f"+49 151 {rng.randrange(10**7, 10**8)}",
            f"+1-{rng.randrange(201, 990)}-{rng.randrange(201, 999)}-{_digits(rng, 4)}",
            f"+31{rng.randrange(6 * 10**8, 7 * 10**8)}",
            f"({rng.randrange(201, 990)}) {rng.randrange(201, 999)}-{_digits(rng, 4)}",
            f"tel 030 {rng.randrange(10**6, 10**7)}",
        )
    )


def iban(rng: random.Random) -> str:
    country = rng.choice(("DE", "NL", "ES", "PL", "FR", "IT"))
    letters = {"NL": "ABNA", "IT": "X"}.get(country, "")
    account = letters + _digits(rng, IBAN_LENGTHS[country] - 4 - len(letters))
    number = f"{country}{98 - mod_97(account + country + '00'):02}{account}"
    return rng.choice((number, " ".join(number[i : i + 4] for i in range(0, len(number), 4))))


def card(rng: random.Random) -> str:
    prefix = rng.choice(("4", "51", "55", "2221"))
    body = prefix + _digits(rng, 15 - len(prefix))
    number = next(body + str(digit) for digit in range(10) if luhn(body + str(digit)))
    groups = [number[i : i + 4] for i in range(0, 16, 4)]
    return rng.choice((" ".join(groups), "-".join(groups), f"card {number}", f"cc:{number}"))


def ipv4(rng: random.Random) -> str:
    return ".".join(str(rng.randrange(100, 224)) for _ in range(4))


def ipv6(rng: random.Random) -> str:
    return f"2001:db8:{rng.randrange(1 << 16):x}::{rng.randrange(1 << 16):x}:{rng.randrange(256, 1 << 16):x}"


def national_id(rng: random.Random) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return f"{rng.randrange(1, 666):03}-{rng.randrange(1, 100):02}-{rng.randrange(1, 10_000):04}"
    if kind == 1:
        number = rng.randrange(10**7, 10**8)
        return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"
    if kind == 2:
        while True:
            digits = _digits(rng, 9)
            if len(set(digits)) > 1 and weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0:
                return f"BSN {digits}"
    body = f"{rng.randrange(100):02}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}{_digits(rng, 4)}"
    return f"pesel: {body}{-weighted(body, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10}"


def person(rng: random.Random) -> str:
    return rng.choice(PERSONS)


KINDS: Final[Mapping[str, Callable[[random.Random], str]]] = {
    "email": email,
    "phone": phone,
    "iban": iban,
    "card": card,
    "ipv4": ipv4,
    "ipv6": ipv6,
    "national_id": national_id,
    "name": person,
}
DETECTOR_OF: Final = {"ipv4": "ip", "ipv6": "ip"}


def planted(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Return kind and text of `count` strings, of all kinds in turn."""
    rng, kinds = random.Random(seed), list(KINDS)
    return [(kind, KINDS[kind](rng)) for kind in (kinds[i % len(kinds)] for i in range(count))]


def innocent(count: int, *, seed: int = 0) -> dict[str, list[str]]:
    """Return `count` strings of each kind of number that is not personal data."""
    rng = random.Random(seed)

    def version() -> str:
        parts = ".".join(str(rng.randrange(rng.choice((3, 10, 30)))) for _ in range(rng.choice((2, 3, 4))))
        return rng.choice(("v", "", "release-", "app/")) + parts

    def moment() -> str:
        date = f"20{rng.randrange(10, 40)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
        time = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
        return rng.choice((f"{date}T{time}Z", f"{date} {time}.{rng.randrange(1000):03}+02:00"))

    makers: dict[str, Callable[[], str]] = {
        "digits": lambda: str(rng.randrange(10 ** (size := rng.randrange(8, 19)), 10 ** (size + 1))),
        "uuid": lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "hex": lambda: hashlib.sha256(rng.randbytes(8)).hexdigest()[: rng.choice((8, 12, 16, 32, 40, 64))],
        "milliseconds": lambda: str(rng.randrange(1_500_000_000_000, 1_900_000_000_000)),
        "time": moment,
        "version": version,
        "order": lambda: f"order-{rng.randrange(10**8, 10**16)}",
        "number": lambda: repr(rng.uniform(-1e9, 1e9)),
        "position": lambda: f"features-{rng.randrange(100)}-{rng.randrange(10**9)}",
    }
    return {name: [make() for _ in range(count)] for name, make in makers.items()}
