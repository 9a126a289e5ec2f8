"""`forebay.register`: the reader is chosen by type or suffix, and what it read is compared and published."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.tree import DecisionTreeRegressor

import forebay
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.torch.architectures import Net
from forebay.models.registration import readers
from forebay.models.registration.candidate import Candidate, ConversionNote
from forebay.models.registration.hints import Hints
from forebay.models.registration.readers import FILE_READERS, OBJECT_READERS, ReaderEntry
from forebay.models.registration.register import Registration
from forebay.models.registration.torch_nets import read_net
from forebay.schemas.errors import ModelError
from tests.models.build import CREATED_AT, load_artefact, make_net, make_signature, make_standardise

ROWS = pd.DataFrame({"a": [1.0, 2.0, None], "b": ["x", "y", "x"], "c": [0.5, 0.25, 1.0], "kind": ["no", "yes", "no"]})


def register(tmp_path: Path, model: Any = None, **more: Any) -> Registration:
    options: dict[str, Any] = {"name": "m", "repository": tmp_path, "created_at": CREATED_AT}
    if model is None or isinstance(model, Net):
        options["backend"] = "torch"  # test_torch_export.py exports nets, which takes a second each
    return forebay.register(make_net() if model is None else model, **(options | more))


def fault(tmp_path: Path, model: Any = None, **more: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        register(tmp_path, model, **more)
    assert caught.value.remedy
    assert not (tmp_path / "m").exists()
    return caught.value


def test_a_net_is_registered_as_it_is_saved(tmp_path: Path) -> None:
    options: dict[str, Any] = {"signature": make_signature(labels=("no", "yes")), "preprocessing": make_standardise()}
    done = register(tmp_path, **options, metrics={"accuracy": 0.5}, licence="MIT", note="n", golden_rows=[[1, 2, 3.0]])
    assert (done.name, done.version, done.folder, done.backend) == ("m", 1, tmp_path / "m" / "1", "torch")
    assert (done.runs_code, done.notes, done.golden_rows_given) == (False, (), True)
    saved = forebay.save_artefact(
        tmp_path / "saved", "m", make_net(), **options, created_at=CREATED_AT, metrics={"accuracy": 0.5}, licence="MIT",
        note="n", golden_rows=np.array([[1, 2, 3]], dtype=np.float32),
    )  # fmt: skip
    for file in saved.iterdir():
        assert (done.folder / file.name).read_bytes() == file.read_bytes(), file.name
    assert register(tmp_path, **options, parent=1).version == 2


def test_a_signature_is_read_from_a_sample(tmp_path: Path) -> None:
    done = register(tmp_path, make_net(output_dim=1), signature=ROWS.fillna({"a": 3.0}), target="kind")
    loaded = load_artefact(tmp_path, "m")
    assert loaded.manifest.signature == Signature(
        (Feature("a"), Feature("b", "category", ("x", "y")), Feature("c")),
        (3,),
        task="binary",
        output_dim=1,
        labels=("no", "yes"),
    )
    assert loaded.golden is not None and done.golden_rows_given
    np.testing.assert_array_equal(
        loaded.golden.rows_RW, np.array([[1, 0, 0.5], [2, 1, 0.25], [3, 0, 1]], dtype=np.float32)
    )
    (note,) = done.notes
    assert (note.part, note.result) == ("feature b", "approximated") and "Signature" in note.reason
    assert done.report().splitlines() == [
        "m@1: backend torch, stored its outputs for golden rows (rows of the sample)",
        f"  feature b  approximated  {note.reason}",
    ]


def test_a_sample_can_be_a_file_and_the_task_can_be_stated(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("a,b,c\n1,2,3\n4,5,6\n")
    net = make_net(output_dim=4)
    register(tmp_path, net, signature=file, task="regression")
    assert load_artefact(tmp_path, "m").manifest.signature.task == "regression"
    register(tmp_path, net, signature=str(file), task="multiclass", labels=tuple("abcd"))
    assert load_artefact(tmp_path, "m").manifest.signature.labels == ("a", "b", "c", "d")


def test_without_rows_golden_rows_are_made(tmp_path: Path) -> None:
    assert not register(tmp_path, signature=make_signature()).golden_rows_given


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "signature is not stated"),
        ({"signature": ROWS}, "task is not stated"),
        ({"signature": ROWS, "task": "multi"}, "task is 'multi'"),
        ({"signature": ROWS, "task": "regression"}, "features stated|gives 4 columns"),
        ({"signature": ROWS, "target": "class"}, "there is no column 'class'"),
        ({"signature": make_signature(), "backend": "tensorflow"}, "backend is 'tensorflow'"),
        ({"signature": make_signature(), "outputs": "scores"}, "outputs is 'scores'"),
        ({"signature": make_signature(), "labels": (1, 2)}, "labels"),
        ({"signature": make_signature(), "golden_rows": "rows.csv"}, "golden_rows is 'rows.csv'"),
        ({"signature": make_signature(), "golden_rows": [[1.0]]}, r"golden_rows is float32 \[1, 1\]"),
        ({"signature": make_signature(), "name": "a/b"}, "the model's name is 'a/b'"),
        ({"signature": make_signature(), "metrics": {"accuracy": float("nan")}}, "metric accuracy is nan"),
        ({"signature": make_signature(), "parent": 1}, "no such model repository|there is no model|no version"),
        ({"signature": make_signature(), "tolerance": 0.1}, "tolerance is 0.1"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    error = fault(tmp_path, **more)
    assert re.search(says, error.message), error.message


class Subclass(type(make_net())):  # type: ignore[misc]
    pass


def function(x: object) -> object:
    return x


@pytest.mark.parametrize(
    ("model", "says", "remedy"),
    [
        (object(), "an object of builtins.object cannot be read", "give a fitted model of "),
        (function, "function is a function", "write it to a file"),
        (Subclass, "an object of builtins.type cannot be read", "give a fitted model of "),
    ],
)
def test_an_object_of_no_known_library_is_refused(tmp_path: Path, model: Any, says: str, remedy: str) -> None:
    error = fault(tmp_path, model)
    assert says in error.message and remedy in str(error.remedy)


@pytest.mark.parametrize(
    "suffix", [".pkl", ".joblib", ".pt", ".pth", ".PICKLE", ".onnx", ".json", ".txt", ".pt2", ".py", ".x"]
)
def test_pickles_are_refused_unread(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_bytes(pickle.dumps(Trap()))
    error = fault(tmp_path, file)
    assert "can run any code" in error.message and "load it in Python" in str(error.remedy)
    assert not (tmp_path / "trapped").exists()


class Trap:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path("trapped"),)


def test_files_that_cannot_be_models_are_refused(tmp_path: Path) -> None:
    assert "there is no such file" in fault(tmp_path, "nothing.onnx").message
    (tmp_path / "folder.onnx").mkdir()
    assert "is a folder" in fault(tmp_path, tmp_path / "folder.onnx").message
    (tmp_path / "model.xyz").touch()
    (tmp_path / "model").touch()
    assert "the suffix is .xyz" in fault(tmp_path, tmp_path / "model.xyz").message
    assert "the suffix is missing" in fault(tmp_path, tmp_path / "model").message
    with (tmp_path / "huge.ubj").open("wb") as stream:
        stream.truncate(readers.MAX_FILE_BYTES + 1)  # takes no space
    assert "allowed are at most 4294967296" in fault(tmp_path, tmp_path / "huge.ubj").message


@pytest.fixture
def other_library(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any, Hints], Candidate]], Any]:
    """Return a model of a library of its own, which the given function reads."""

    def make(read: Callable[[Any, Hints], Candidate]) -> Any:
        monkeypatch.setattr(ReaderEntry, "load", lambda *_: read)
        monkeypatch.setattr(readers, "OBJECT_READERS", {"otherlib": ReaderEntry("otherlib_reader", "read")})
        base = type("Base", (), {"__module__": "otherlib.models"})
        return type("Model", (base,), {})()

    return make


def test_a_class_of_ones_own_is_read_as_what_it_inherits_from(tmp_path: Path, other_library: Any) -> None:
    notes = (ConversionNote("step scale", "frozen"),)

    def read(model: object, hints: Hints) -> Candidate:
        candidate = read_net(make_net(), replace(hints, backend="torch"))
        return Candidate("torch", candidate.files, candidate.signature, candidate.preprocessing, notes=notes,
                         params=candidate.params, architecture="mlp")  # fmt: skip

    assert register(tmp_path, other_library(read), signature=make_signature()).notes == notes


def test_a_model_that_differs_from_its_original_is_not_published(tmp_path: Path, other_library: Any) -> None:
    def read(model: object, hints: Hints) -> Candidate:
        return replace(
            read_net(make_net(), replace(hints, backend="torch")),
            expected=lambda x: np.full((len(x), 2), 99, dtype=np.float32),
        )

    error = fault(tmp_path, other_library(read), signature=make_signature())
    assert error.kind == "golden" and "converted to torch" in error.message


def test_what_a_library_raises_is_reported_with_its_cause(tmp_path: Path, other_library: Any) -> None:
    def read(model: object, hints: Hints) -> Candidate:
        raise ValueError("bad tree")

    error = fault(tmp_path, other_library(read), signature=make_signature())
    assert "cannot be read or run: ValueError: bad tree" in error.message
    assert isinstance(error.__cause__, ValueError)


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "FILE_READERS", {".onnx": ReaderEntry("nowhere", "read", "registration")})
    (tmp_path / "m.onnx").touch()
    error = fault(tmp_path, tmp_path / "m.onnx")
    assert error.remedy == "pip install 'forebay[registration]'" and "nowhere" in error.message


@pytest.mark.parametrize("entry", [*OBJECT_READERS.values(), *FILE_READERS.values()], ids=lambda entry: entry.function)
def test_every_reader_of_the_tables_exists(entry: ReaderEntry) -> None:
    assert callable(entry.load("a model"))


def test_a_repository_can_be_behind_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"local://{tmp_path}/models"
    for version in (1, 2):
        done = register(tmp_path, signature=make_signature(), repository=url, parent=version - 1 or None)
        assert done.version == version and (done.folder / "manifest.json").is_file()
    assert (tmp_path / "models" / "m" / "2" / "README.md").read_text().startswith("# m, version 2\n")


def test_a_function_in_a_file_runs_code(tmp_path: Path) -> None:
    file = tmp_path / "double.py"
    file.write_text("def predict(x):\n    return 2 * x[:, :1]\n")
    done = register(tmp_path, file, signature=ROWS.drop(columns="b"), target="kind", task="regression")
    assert (done.backend, done.runs_code, done.compared) == ("python", True, True)
    file.write_text("def predict(x):\n    return x[:, 5]\n")
    with pytest.raises(ModelError, match="IndexError"):
        register(tmp_path, file, signature=ROWS, target="kind")


def test_what_is_no_module_of_torch_is_refused(tmp_path: Path) -> None:
    error = fault(tmp_path, torch.zeros(3), signature=make_signature())
    assert "this is a torch.Tensor" in error.message and "give the trained module itself" in str(error.remedy)


def test_choosing_a_reader_imports_no_library(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").touch()
    script = (
        "import sys, forebay\n"
        f"for model in (object(), {str(tmp_path / 'm.pkl')!r}, 'nothing.onnx'):\n"
        "    try:\n"
        "        forebay.register(model, name='m')\n"
        "    except forebay.models.registration.register.ModelError:\n"
        "        pass\n"
        "print(*sorted({'torch', 'sklearn', 'xgboost', 'lightgbm', 'onnx', 'onnxruntime', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_a_sample_that_renames_the_model_s_own_columns_is_noted(tmp_path: Path) -> None:
    table = pd.DataFrame({"delay": [1.0, 2.0, 3.0, 4.0], "wind": [0.0, 1.0, 0.0, 1.0]}, dtype=np.float32)
    model = DecisionTreeRegressor().fit(table, [0.0, 1.0, 2.0, 3.0])
    done = register(tmp_path, model, signature=table.rename(columns={"wind": "breeze"}))
    (note,) = [note for note in done.notes if note.part == "features"]
    assert note.result == "approximated" and note.reason.endswith("in their order: wind is called breeze")
    assert not register(tmp_path, model, signature=table[["wind", "delay"]]).notes, "its own columns in another order"
    unnamed = DecisionTreeRegressor().fit(table.to_numpy(), [0.0, 1.0, 2.0, 3.0])
    assert not register(tmp_path, unnamed, signature=table).notes, "it had no names"
