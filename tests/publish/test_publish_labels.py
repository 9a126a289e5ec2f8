"""`forebay publish --topic labels`: the records that it sends, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.cli import main
from forebay.stream.config.sections import EvaluateSection, KafkaSection, Settings, TopicsSection
from forebay.stream.evaluate.topic_layout import plan_evaluator_topics
from forebay.stream.evaluate.topics import create_evaluator_topics
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.publish.publisher import Publisher
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.models.build import make_net
from tests.models.build import publish as publish_model


@pytest.fixture
def settings(embedded_broker: Broker, names: Names) -> Settings:
    return Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap),
        topics=TopicsSection(prefix=names("")),
        evaluate=EvaluateSection(enabled=True),
    )


@pytest.fixture
def arguments(settings: Settings, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Create this test's topics; return the options that name them."""
    monkeypatch.chdir(tmp_path)
    asyncio.run(create_topics(settings))
    asyncio.run(create_evaluator_topics(settings, dry_run=False))
    options = ["--bootstrap-server", settings.kafka.bootstrap_servers, "--set", f"topics.prefix={names('')}"]
    return ["--topic", names("labels"), *options]


def published(arguments: list[str], capsys: pytest.CaptureFixture[str], count: int) -> list[dict[str, object]]:
    """Return the records of the topic, as `forebay tail --json` shows them."""
    capsys.readouterr()
    limits = ["--from-beginning", "--json", "--limit", str(count), "--timeout", "20"]
    assert main(["tail", "labels", *limits, *arguments[2:]]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_label_is_in_the_partition_of_its_event(
    arguments: list[str], settings: Settings, names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text(
        "flight,late,landed,tail,carrier\nF1,1,1970-01-01T00:00:01Z,N1,UA\nF2,0,2000,N2,AA\nF3,1,3000,N3,UA\n"
    )
    columns = [
        "--id-column",
        "flight",
        "--label-column",
        "late",
        "--timestamp-column",
        "landed",
        "--key-column",
        "tail",
    ]
    more = ["--model", "delays", "--field-column", "carrier"]
    assert main(["publish", str(path), *columns, *more, *arguments]) == 0
    assert f"published 3 labels to {names('labels')} in " in capsys.readouterr().out
    records = published(arguments, capsys, 3)

    async def partitions_of_events() -> list[int]:
        publisher = Publisher(client_options(settings.kafka), names("features"))
        await publisher.start()
        try:
            return [publisher.choose_partition(key) for key in (b"N1", b"N2", b"N3")]
        finally:
            await publisher.stop()

    by_key = {record["key"]: record for record in records}
    assert [by_key[key]["partition"] for key in ("N1", "N2", "N3")] == asyncio.run(partitions_of_events())
    assert by_key["N1"]["value"] == {
        "id": "F1",
        "label": 1,
        "timestamp": 1000,
        "model": "delays",
        "fields": {"carrier": "UA"},
    }


def test_labels_by_position_need_no_key(
    arguments: list[str], tmp_path: Path, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outcomes.jsonl"
    path.write_text('{"label": true, "timestamp": 5, "partition": 3, "offset": 17}\n')
    assert main(["publish", str(path), "--set", "evaluate.join_by=position", *arguments]) == 0
    (record,) = published(arguments, capsys, 1)
    source = {"topic": names("features"), "partition": 3, "offset": 17}
    assert (record["partition"], record["value"]) == (3, {"label": True, "timestamp": 5, "source": source})


def test_bad_rows_end_the_run_or_are_skipped(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text("id,label,key\na,1,k\nb,,k\nc,0,\n")
    assert main(["publish", str(path), *arguments]) == 1
    error = capsys.readouterr().err
    assert "outcomes.csv, line 3: label is missing (1 label was published before)" in error
    assert main(["publish", str(path), "--skip-bad-lines", "--json", *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["labels"], document["skipped"]) == (1, 2)
    assert "key is missing" in document["bad_lines"][1]["reason"]


def test_labels_are_checked_against_the_classes_of_the_model(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signature = Signature((Feature("x"),), (1,), "binary", 1, labels=("on time", "late"))
    publish_model(tmp_path / "models", "delays", net=make_net(1, 1), signature=signature, preprocessing=None)
    arguments = ["--set", "model.name=delays", *arguments]
    path = tmp_path / "outcomes.csv"
    path.write_text("id,label,key\na,late,k\nb,1,k\nc,lat,k\n")
    assert main(["publish", str(path), *arguments]) == 1
    error = capsys.readouterr().err
    assert "line 4: label is 'lat'; the classes of model 'delays' are 'on time', 'late', or their numbers" in error
    assert "did you mean 'late'?" in error
    assert main(["publish", str(path), "--no-check", *arguments]) == 0


def test_options_that_do_not_fit_are_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text("id,outcome,key\na,1,k\n")
    assert main(["publish", str(path), *arguments]) == 2
    assert "there is no column 'label'" in (error := capsys.readouterr().err) and "--label-column names" in error
    assert main(["publish", str(path), "--raw", *arguments]) == 2
    assert "--raw cannot be used for labels" in capsys.readouterr().err
    assert main(["publish", str(path), "--label-column", "outcome", *arguments[2:]]) == 2
    assert "--label-column can only be used with --topic and the topic of labels" in capsys.readouterr().err


def test_a_topic_with_another_number_of_partitions_is_refused(
    settings: Settings, names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    other = settings.model_copy(update={"evaluate": EvaluateSection(enabled=True, labels_topic="few")})
    asyncio.run(create_topics(other, plan_evaluator_topics(other, num_predictions=2)))
    path = tmp_path / "outcomes.csv"
    path.write_text("id,label,key\na,1,k\n")
    options = ["--topic", names("few"), "--set", "evaluate.labels_topic=few"]
    assert main(["publish", str(path), *options, *arguments[2:]]) == 1
    error = capsys.readouterr().err
    assert f"{names('few')} has 2 partitions and {names('predictions')} 4" in error and "create" in error
