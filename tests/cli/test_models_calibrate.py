"""`forebay models calibrate`: labelled predictions from files and topics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import DataError
from forebay.stream.cli import main
from forebay.stream.cli.labelled_scores import TopicJoin, class_of, read_labelled_file
from forebay.stream.core.model_ref import ModelRef
from tests.core.build import FakeRecord
from tests.models.build import make_net, make_signature, publish

BINARY = Signature((), (1,), "binary", 1, labels=("no", "yes"))
CLASSES = Signature((), (1,), "multiclass", 3)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "models", "m", net=make_net(3, 1), signature=make_signature(3, "binary", 1, ("no", "yes")))
    return tmp_path


def labelled(path: Path) -> Path:
    """Write overconfident scores with labels."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, 1_000)
    is_late = random.random(1_000) < 1 / (1 + np.exp(-logits))
    lines = [f"{1 / (1 + np.exp(-2 * z))},{'yes' if late else 'no'}" for z, late in zip(logits, is_late, strict=True)]
    path.write_text("\n".join(["score,label", *lines]))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    assert main(["models", "calibrate", "m", "1", *arguments]) == status
    done = capsys.readouterr()
    return json.loads(done.out) if "--json" in arguments and not status else done.out + done.err


def test_a_file_of_scores_becomes_a_calibrated_version(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    path = str(labelled(folder / "labels.csv"))
    document = run(capsys, "--labels", path, "--method", "platt", "--threshold", "0.4", "--json")
    assert document["version"] == 2 and document["held_out"] == 200
    assert document["after"]["log_loss"] < document["before"]["log_loss"]
    assert read_version(folder / "models", "m", 2).manifest.threshold == 0.4
    main(["models", "show", "m"])
    shown = capsys.readouterr().out
    assert "platt: slope" in shown and "class 1 from 0.4 on, unless decision.threshold is set" in shown
    assert "m@3 published: isotonic" in run(capsys, "--labels", path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --labels FILE or --topic NAME"),
        (("--labels", "a.csv", "--topic", "labels"), "give either --labels FILE or --topic NAME"),
        (("--labels", "a.csv", "--from", "7d"), "--from needs --topic"),
        (("--topic", "predictions"), "predictions is not a topic of labels"),
        (("--topic", "features"), "features is not a topic of labels"),
        (("--topic", "review"), "review is not a topic of labels"),
        (("--labels", "a.csv", "--threshold", "nan"), "nan is not a number between 0 and 1"),
        (("--labels", "no.csv"), "no.csv: cannot be read"),
        (("--labels", "labels.csv", "--max-rows", "10"), "labels.csv: there are more than 10 labels"),
    ],
)
def test_mistakes_are_reported(
    capsys: pytest.CaptureFixture[str], folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    labelled(folder / "labels.csv")
    assert message in run(capsys, *arguments, status=1 if "labels.csv" in arguments or "no.csv" in arguments else 2)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "score,truth\n0.5,yes\n", ":1: the header has no label"),
        ("a.csv", "score,label\n0.5,yes\nhigh,no\n", ":3: the score is high"),
        ("a.csv", "score,label\n0.5,maybe\n", ":2: the label is 'maybe'"),
        ("a.jsonl", '{"score": 0.5, "label": 1}\nno\n', ":2: not a JSON object"),
        ("a.jsonl", '{"prediction": [0.5, 0.5], "label": 1}\n', r":1: the score is \[0.5, 0.5\]"),
    ],
)
def test_a_wrong_line_of_a_file_is_named(folder: Path, name: str, text: str, message: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_labelled_file(folder / name, BINARY, 100)


def test_classes_are_named_or_counted() -> None:
    for value, expected in ((True, 1), ("no", 0), (1, 1), (1.0, 1), ("1", 1), (2, None), (0.5, None), (None, None)):
        assert class_of(value, BINARY) == expected, value
    assert [class_of(value, CLASSES) for value in (2, True, "a")] == [2, None, None]


def test_topics_are_joined_by_id() -> None:
    join = TopicJoin(ModelRef("m", 3), BINARY, topic="labels", max_rows=3)

    def record(**document: object) -> FakeRecord:
        return FakeRecord(0, orjson.dumps(document))

    for label in (
        record(id="a", label="no", timestamp=1),
        record(id="a", label="yes", timestamp=2),  # a correction
        record(id=7, label=0, timestamp=1),
        record(id="b", label=1, timestamp=1, model="other"),
        record(id="c", label="maybe", timestamp=1),
        record(id="a", label="no", prediction=[0.1], source={}),  # a prediction, with the class that was predicted
        FakeRecord(0, b"no JSON"),
        FakeRecord(0, None),
    ):
        join.add_label(label)
    assert join.num_refused == 4
    for prediction in (
        record(id="a", model="m", version=3, prediction=[0.5]),
        record(id="a", model="m", version=3, prediction=[0.75]),  # predicted again
        record(id="7", model="m", version=3, prediction=[0.25]),
        record(id="a", model="m", version=2, prediction=[0.1]),
        record(id="b", model="m", version=3, prediction=[0.1]),
        record(id="a", model="m", version=3, prediction=[0.1, 0.9]),
        record(id="a", model="m", version=3, prediction=[[0.5]]),
        record(id="a", model="m", version=3, prediction=["high"]),
        record(id=["a"], model="m", version=3, prediction=[0.5]),
        FakeRecord(0, b"[]"),
    ):
        join.add_prediction(prediction)
    assert (join.num_predictions, join.num_malformed) == (4, 4)
    scores_NO, classes_N = join.joined().arrays()
    assert sorted(zip(scores_NO[:, 0].tolist(), classes_N.tolist(), strict=True)) == [(0.25, 0), (0.75, 1)]
    join.add_label(record(id="x", label=1, timestamp=1))
    with pytest.raises(DataError, match="more than 3 labels"):
        join.add_label(record(id="y", label=1, timestamp=1))
