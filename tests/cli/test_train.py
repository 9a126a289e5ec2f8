"""`forebay train` trains from a recipe file, reports, and registers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from forebay.models.backends.protocol import RunOptions
from forebay.models.serving.load_gate import load_model
from forebay.models.training.recipe import parse_recipe
from forebay.stream.cli import main
from forebay.stream.cli.train import creation_time
from forebay.stream.decode.features import FeaturePacker
from tests.eventually import eventually
from tests.models.training.tables import weather

RECIPE = """
[data]
path = "rows.csv"
label = "y"
[model]
hidden_dims = [8]
[training]
epochs = 3
batch_size = 64
learning_rate = 0.02
[register]
name = "damp"
[tune]
"training.learning_rate" = { choices = [0.000001, 0.05] }
"""

Run = Callable[..., tuple[str, str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table and a recipe, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_TRAINING_CACHE", str(tmp_path / "cache"))
    pyarrow.csv.write_csv(weather(400), tmp_path / "rows.csv")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, status: int = 0) -> tuple[str, str]:
        assert main(["train", *arguments]) == status
        done = capsys.readouterr()
        return done.out, done.err

    return run


def test_a_recipe_is_trained_reported_and_registered(run: Run, folder: Path) -> None:
    out, err = run("recipe.toml")
    assert "✓ damp@1  models/damp/1" in out
    assert "next: forebay check --set model.repository=models --set model.name=damp --set model.version=1" in out
    assert "epoch 3: training loss " in err
    assert (folder / "training-reports/damp-1/report.html").is_file()
    assert list((folder / "cache").iterdir()) == []
    out, err = run("recipe.toml", "--json", "--quiet", "--report", "here", "--set", "training.seed=4")
    document = json.loads(out)
    assert (document["version"], document["rows"]["test"], err) == (2, 60, "")
    assert json.loads((folder / "here/report.json").read_text())["metrics"] == document["metrics"]


def test_the_same_recipe_gives_the_same_version_byte_by_byte(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    digests = {
        json.loads(run("recipe.toml", "--json", "--set", f"register.repository={place}")[0])["manifest_sha256"]
        for place in ("a", "b")
    }
    assert len(digests) == 1
    assert creation_time(os.environ) == datetime.fromtimestamp(1_700_000_000, UTC)


def test_what_was_parsed_is_kept_for_the_next_training(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_CACHE_DIR", str(folder / "kept"))
    run("recipe.toml", "--no-register", "--no-cache")
    assert not (folder / "kept/tables").exists()
    first, _ = run("recipe.toml", "--no-register", "--json", "--type", "hour=text")
    (entry,) = (folder / "kept/tables").iterdir()
    os.utime(entry / "table.json", (0, 0))
    second, _ = run("recipe.toml", "--no-register", "--json", "--type", "hour=text")
    assert (entry / "table.json").stat().st_mtime > 0, "it was used"
    assert json.loads(first)["metrics"] == json.loads(second)["metrics"]
    run("recipe.toml", "--no-register")
    assert len(list((folder / "kept/tables").iterdir())) == 2, "the types of columns are part of the key"


def test_a_search_registers_the_best_trial(run: Run) -> None:
    out, _ = run("recipe.toml", "--tune", "6", "--json")
    document = json.loads(out)
    assert len(document["trials"]) == 6
    best = min(trial["validation_loss"] for trial in document["trials"])
    assert document["metrics"]["validation"]["loss"] == best
    out, _ = run("recipe.toml", "--tune", "2", "--no-register")
    assert "validation loss" in out and "not registered" in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "name a recipe"),
        (("none.toml",), 2, "none.toml: cannot be read: No such file or directory"),
        (("recipe.toml", "--set", "training.epochs=0"), 2, "training.epochs is 0; allowed is from 1"),
        (("recipe.toml", "--set", "training.epocs=1"), 2, "did you mean epochs?"),
        (("recipe.toml", "--set", "epochs=1"), 2, "is not SECTION.KEY=VALUE"),
        (("recipe.toml", "--set", "data.label=z"), 1, "no column 'z'"),
        (("recipe.toml", "--type", "hour=int"), 2, "the type of the column hour is 'int'"),
        (("recipe.toml", "--type", "site=number"), 1, "but the column holds numbers (float64)"),
        (("recipe.toml", "--type", "hours=number"), 2, "there is no column 'hours'"),
        (("recipe.toml", "--set", "data.column_types={hour=1}"), 2, "data.column_types is 1; allowed is 'number'"),
        (("recipe.toml", "--set", "data.path=none.csv"), 1, "none.csv"),
        (
            ("recipe.toml", "--set", "training.device=gpu"),
            2,
            "training.device is 'gpu'; allowed is 'auto', 'cpu' or 'cuda'",
        ),
        (("recipe.toml", "--set", "register.name=A B"), 1, "A B"),
    ],
)
def test_mistakes_are_one_message(run: Run, arguments: tuple[str, ...], status: int, message: str) -> None:
    _, err = run(*arguments, status=status)
    assert message in err and "Traceback" not in err


def test_the_example_is_printed(run: Run) -> None:
    assert parse_recipe(run("--init")[0]).registration.name == "my-model"


@pytest.mark.long
async def test_an_interrupt_keeps_the_best_epoch_so_far(folder: Path) -> None:
    (folder / "recipe.toml").write_text(RECIPE.replace("epochs = 3", "epochs = 1000000\npatience = 1000000"))
    with (folder / "progress.txt").open("w") as progress:
        command = [sys.executable, "-m", "forebay", "train", "recipe.toml", "--json"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=progress)
    try:
        await eventually(
            (folder / "progress.txt").read_text, "three epochs", until=lambda text: "epoch 3:" in text, timeout_s=120
        )
        process.send_signal(signal.SIGINT)
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    document = json.loads(out)
    assert process.returncode == 0
    assert (document["end"], document["version"]) == ("interrupted", 1)
    assert list((folder / "cache").iterdir()) == []


TARGET_RECIPE = """
[data]
path = "rows.csv"
label = "y"
[[prepare]]
step = "impute"
strategy = "median"
[[prepare]]
step = "target"
columns = ["site"]
[[prepare]]
step = "standardise"
[model]
hidden_dims = [16]
[training]
epochs = 12
batch_size = 64
learning_rate = 0.04
[register]
name = "comfort"
"""


def test_texts_are_encoded_by_labels_of_several_classes_from_the_recipe_to_the_served_version(
    run: Run, folder: Path
) -> None:
    table = weather(900)
    site, humidity = table["site"].to_pylist(), np.nan_to_num(table["humidity"].to_numpy(), nan=50.0)
    label = np.where(np.array(site) == "cellar", "cold", np.where(humidity > 50, "damp", "fine"))
    table = table.set_column(table.schema.get_field_index("y"), "y", pa.array(label))
    pyarrow.csv.write_csv(table, folder / "rows.csv")
    (folder / "comfort.toml").write_text(TARGET_RECIPE)
    document = json.loads(run("comfort.toml", "--json")[0])
    assert document["metrics"]["test"]["accuracy"] > 0.85

    model = load_model(folder / "models", "comfort", options=RunOptions())
    assert model.signature.labels == ("cold", "damp", "fine")
    assert model.prepare(np.zeros((1, 4), np.float32)).shape == (1, 6), "the site has become a column for each class"
    packer = FeaturePacker(model.signature)
    events = [{**row, "site": place} for place in ("attic", "cellar", "kitchen") for row in table.to_pylist()[:50]]
    names = [feature.name for feature in model.signature.features]
    x_NF = np.frombuffer(b"".join(packer.exact({name: event[name] for name in names}) for event in events), "<f4")
    classes = model.forward(model.prepare(x_NF.reshape(len(events), -1))).classes_B
    assert classes is not None
    is_cellar = np.array([event["site"] == "cellar" for event in events])
    assert np.mean((classes == 0) == is_cellar) > 0.95
