"""`forebay models register` reads a file, reports what became of it, and says what comes next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from onnx import TensorProto, helper

import forebay
from forebay.models.artefacts import backend_files
from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.golden import Tolerance
from forebay.models.registration import readers
from forebay.models.registration.candidate import Candidate, ConversionNote
from forebay.models.registration.hints import Hints
from forebay.models.registration.readers import ReaderEntry
from forebay.models.registration.torch_nets import read_net
from forebay.stream.cli import main
from tests.models.backends.onnx.graphs import make_model
from tests.models.build import load_artefact, make_net

NOTES = (ConversionNote("step [scale]", "frozen"), ConversionNote("step impute", "approximated", "the mean is rounded"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model of a format for tests, net.test, and a sample of the data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.test").write_bytes(b"\0" * 1000)
    (tmp_path / "rows.csv").write_text("a,b,c,left\n1,2,,no\n4,5,6,yes\n")

    def read(model: object, hints: Hints) -> Candidate:
        assert model == Path("net.test")
        candidate = read_net(make_net(output_dim=1), replace(hints, backend="torch"))
        return replace(candidate, notes=NOTES, expected=lambda x: np.zeros((len(x), 1), dtype=np.float32))

    monkeypatch.setattr(ReaderEntry, "load", lambda *_: read)
    monkeypatch.setattr(readers, "FILE_READERS", {".test": ReaderEntry("test_reader", "read")})
    return tmp_path


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, status: int = 0) -> tuple[str, str]:
        """Run the command; return what it writes to standard output and standard error."""
        assert main(["models", "register", *arguments]) == status
        done = capsys.readouterr()
        assert "Traceback" not in done.err
        return done.out, done.err

    return run


SAMPLE = ("net.test", "--name", "churn", "--signature", "rows.csv", "--target", "left")
"""Fits the net, whose third column is nullable; its outputs are not zero."""


@pytest.fixture
def tolerant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept any finite outputs, as if the original agreed."""
    monkeypatch.setattr("forebay.models.artefacts.golden.GoldenRows.check", lambda *_: None)


@pytest.mark.usefixtures("tolerant")
def test_a_model_is_registered_with_what_the_options_state(run: Run) -> None:
    (Path("rows.csv")).write_text("a,b,c,left\n1,2,3,no\n4,5,6,yes\n")
    run(*SAMPLE)
    out, err = run(
        *SAMPLE,
        "--metric",
        "auc=0.9",
        "--metric",
        "loss=1e-3",
        "--note",
        "by test",
        "--licence",
        "MIT",
        "--parent",
        "1",
    )
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "✓ churn@2  models/churn/2"
    assert lines[1] == "  backend torch, agrees with the original on golden rows (rows of the sample)"
    assert lines[2] == "  2 notes on the conversion:"
    assert lines[3].split() == ["part", "result", "reason"]
    assert lines[5].split() == ["step", "[scale]", "frozen"]
    assert lines[6].split() == ["step", "impute", "approximated", "the", "mean", "is", "rounded"]
    assert lines[7] == "next: forebay check --set model.name=churn --set model.version=2"
    manifest = load_artefact("models", "churn").manifest
    about = manifest.provenance
    assert (dict(about.metrics), about.note, about.licence, about.parent) == (
        {"auc": 0.9, "loss": 1e-3},
        "by test",
        "MIT",
        1,
    )
    assert (manifest.signature.task, manifest.signature.labels) == ("binary", ("no", "yes"))


@pytest.mark.usefixtures("tolerant")
def test_json_has_all_of_it(run: Run) -> None:
    Path("rows.csv").write_text("a,b,c\n1,2,3\n")
    out, _ = run(
        "net.test", "--name", "m", "--signature", "rows.csv", "--task", "binary", "--labels", "no, yes",
        "--repository", "other", "--json",
    )  # fmt: skip
    document = json.loads(out)
    digest = document.pop("manifest_sha256")
    assert len(digest) == 64
    assert document == {
        "name": "m",
        "version": 1,
        "place": "other/m/1",
        "backend": "torch",
        "runs_code": False,
        "compared": True,
        "golden_rows_given": True,
        "notes": [
            {"part": "step [scale]", "result": "frozen", "reason": ""},
            {"part": "step impute", "result": "approximated", "reason": "the mean is rounded"},
        ],
        "signed_by": None,
    }
    assert load_artefact("other", "m").manifest.signature.labels == ("no", "yes")


@pytest.mark.usefixtures("tolerant")
def test_a_model_that_runs_code_comes_with_the_lines_that_trust_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("rows.csv").write_text("a,b,c,left\n1,2,3,no\n4,5,6,yes\n")
    code = MappingProxyType({**BACKENDS, "torch": replace(BACKENDS["torch"], runs_code=True)})
    for module in ("artefacts.backend_files", "registration.register", "artefacts.model_card"):
        monkeypatch.setattr(f"forebay.models.{module}.BACKENDS", code)
    assert backend_files.BACKENDS is code
    out, _ = run(*SAMPLE, "--repository", "other")
    assert "next: forebay check --set model.repository=other --set model.name=churn" in out
    manifest = json.loads(run(*SAMPLE, "--repository", "other", "--json")[0])["manifest_sha256"]
    (again,) = [line for line in run(*SAMPLE, "--repository", "third")[0].splitlines() if line.startswith("manifests")]
    assert "\n[trust]\nmanifests = [" in out and again.startswith('manifests = ["sha256:') and manifest not in again
    assert "**This version contains code that runs when it is loaded.**" in Path("other/churn/1/README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ((), 2, "Missing argument 'PATH'"),
        (("net.test",), 2, "Missing option '--name'"),
        (("net.test", "--name", "m", "--metric", "auc"), 2, "'auc' is not NAME=VALUE"),
        (("net.test", "--name", "m", "--metric", "auc=high"), 2, "'auc=high' is not NAME=VALUE"),
        (("net.test", "--name", "m", "--task", "ranking"), 2, "'ranking' is not one of"),
        (("net.test", "--name", "m", "--tolerance", "small"), 2, "'small' is not a number, such as 1e-4"),
        (("net.test", "--name", "m", "--tolerance", "relativ=1"), 2, "'relativ=1' is not a number"),
        (("net.test", "--name", "m", "--tolerance", "relative=0,relative=0"), 2, "is not a number"),
        (
            ("net.test", "--name", "m", "--tolerance", "2"),
            2,
            "the tolerance's relative is 2.0; allowed is from 0 to below 1",
        ),
        (("net.test", "--name", "m", "--output", "p"), 1, "only an ONNX graph has outputs to choose from"),
        (("net.test", "--name", "a/b"), 1, "the model's name is 'a/b'"),
        (("net.test", "--name", "m", "--backend", "tf"), 1, "choose torch"),
        (("nothing.test", "--name", "m"), 1, "nothing.test: there is no such file"),
        (("net.pkl", "--name", "m"), 1, "files can run any code"),
        (("net.test", "--name", "m"), 1, "signature is not stated"),
        (("net.test", "--name", "m", "--signature", "none.csv"), 1, "none.csv: cannot be read"),
        (("net.test", "--name", "m", "--signature", "rows.csv", "--target", "x"), 1, "there is no column 'x'"),
        (SAMPLE, 1, "converted to torch: for golden row 0 the model's output 0 is"),
        ((*SAMPLE, "--sign", "no.key"), 1, "no.key: cannot be read"),
        ((*SAMPLE, "--parent", "7"), 1, "models: there is no such model repository"),
    ],
)
def test_errors_name_the_remedy_and_publish_nothing(
    run: Run, arguments: tuple[str, ...], status: int, says: str
) -> None:
    out, err = run(*arguments, status=status)
    assert out == "" and says in " ".join(err.split())
    assert status == 2 or "hint: " in err
    assert not Path("models").exists()


@pytest.mark.usefixtures("tolerant")
@pytest.mark.parametrize(
    ("text", "relative", "absolute"),
    [("0", 0.0, 0.0), ("1e-3", 1e-3, 1e-3), ("absolute=2", 0.0, 2.0), ("relative=0.5,absolute=1e-6", 0.5, 1e-6)],
)
def test_a_tolerance_is_one_number_or_two_by_name(run: Run, text: str, relative: float, absolute: float) -> None:
    Path("rows.csv").write_text("a,b,c,left\n1,2,3,no\n4,5,6,yes\n")
    run(*SAMPLE, "--tolerance", text)
    assert load_artefact("models", "churn").manifest.tolerance == Tolerance(relative, absolute)


def test_one_of_several_outputs_of_a_graph_is_chosen(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # with the real readers
    monkeypatch.chdir(tmp_path)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("scores", "other")]
    nodes = [
        helper.make_node("MatMul", ["rows", "weights"], ["scores"]),
        helper.make_node("Neg", ["scores"], ["other"]),
    ]
    Path("net.onnx").write_bytes(make_model(nodes, outputs=outputs).SerializeToString())
    arguments = ("net.onnx", "--name", "m", "--task", "regression")
    assert "--output scores" in " ".join(run(*arguments, status=1)[1].split())
    run(*arguments, "--output", "other")
    assert read_version("models", "m").manifest.params == {"output": "other"}


def test_the_help_has_examples_and_imports_no_model_library() -> None:
    code = (
        "import sys; from forebay.stream.cli import main\n"
        "main(['models', 'register', '--help'])\n"
        "assert not {'torch', 'numpy', 'onnx'} & sys.modules.keys()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout and "forebay models register churn.txt --name churn" in done.stdout


@pytest.mark.usefixtures("tolerant")
def test_a_terminal_sees_that_the_model_is_being_registered(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    Path("rows.csv").write_text("a,b,c,left\n1,2,3,no\n4,5,6,yes\n")
    monkeypatch.setattr(
        "forebay.stream.terminal.console.stderr_console",
        lambda: Console(file=sys.stderr, force_terminal=True, width=100),
    )
    assert "registering net.test (0.0 MB)" in run(*SAMPLE)[1]
    assert run(*SAMPLE, "--json")[1] == ""


@pytest.mark.usefixtures("tolerant")
@pytest.mark.parametrize("repository", ["models", "memory://bytes/models"])
def test_the_bytes_of_a_version_are_counted_while_they_are_written(
    repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_CACHE_DIR", str(tmp_path / "cache"))
    Path("rows.csv").write_text("a,b,c,left\n1,2,3,no\n4,5,6,yes\n")
    reports: list[tuple[str, int, int]] = []
    forebay.register(
        Path("net.test"),
        name="churn",
        signature="rows.csv",
        target="left",
        repository=repository,
        on_progress=lambda *report: reports.append(report),
    )
    assert {place for place, _, _ in reports} == {f"{repository}/churn" + ("/1" if "://" in repository else "")}
    assert reports[-1][1] == reports[-1][2] == sum({report[2] for report in reports})
