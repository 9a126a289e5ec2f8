"""The backend `python`: a function in a file, loaded from verified bytes."""

from __future__ import annotations

import gc
import linecache
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest

from forebay.models.artefacts.trust import TrustPolicy
from forebay.models.backends.own_code import MODULE_PREFIX, load_source
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.python.backend import as_outputs, load_function
from forebay.models.serving.load_gate import load_model
from forebay.models.serving.served_model import ServedModel
from forebay.schemas.errors import ModelError
from tests.models.build import make_signature, make_standardise
from tests.models.own_code import DOUBLE, publish_function


def load(repository: Path, name: str = "own", device: str = "cpu") -> ServedModel:
    trust = TrustPolicy(frozenset({str(repository)}))
    return load_model(repository, name, options=RunOptions(device), trust=trust)


def refused(source: str) -> ModelError:
    with pytest.raises(ModelError) as raised:
        load_function(source.encode(), "m/predict.py").run(np.ones((2, 3), dtype=np.float32))
    return raised.value


def test_a_function_is_served(tmp_path: Path) -> None:
    publish_function(tmp_path / "models", preprocessing=make_standardise())
    model = load(tmp_path / "models")
    x_BF = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
    prepared = model.prepare(x_BF)
    np.testing.assert_array_equal(model.forward(prepared).values_BO, 2 * prepared[:, :1])
    assert (model.device, model.num_golden_rows) == ("cpu", 32)


def test_a_classifier_returns_probabilities(tmp_path: Path) -> None:
    source = "import numpy as np\ndef predict(x):\n    p = 1 / (1 + np.exp(-x[:, 0]))\n    return np.column_stack([1 - p, p])\n"
    publish_function(tmp_path / "models", source, signature=make_signature(task="multiclass", output_dim=2))
    scores = load(tmp_path / "models").forward(np.array([[2, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(scores.values_BO, [[0.11920292, 0.88079708]], rtol=1e-6)
    assert scores.classes_B is not None and scores.classes_B.tolist() == [1]


def test_what_the_file_computes_at_its_top_level_is_computed_once() -> None:
    runner = load_function(
        b"calls = []\ntable = calls.append(1)\ndef predict(x):\n    return x[:, 0] + len(calls)\n", "f.py"
    )
    x = np.zeros((2, 3), dtype=np.float32)
    assert runner.run(x).tolist() == runner.run(x).tolist() == [[1], [1]]


def test_the_function_may_change_its_rows() -> None:
    x = np.ones((2, 3), dtype=np.float32)
    runner = load_function(b"def predict(x):\n    x *= 5\n    return x[:, 0]\n", "f.py")
    assert runner.run(x[:, ::-1]).tolist() == [[5], [5]]
    assert (x == 1).all()


def test_the_module_has_a_private_name_and_two_with_the_same_source_share_nothing() -> None:
    before, path = set(sys.modules), list(sys.path)
    first, second = (load_source(b"state = []", "a/predict.py") for _ in range(2))
    added = set(sys.modules) - before
    assert {first.__name__, second.__name__} == added and len(added) == 2
    assert all(name.startswith(MODULE_PREFIX) for name in added) and sys.path == path
    assert first.state is not second.state
    assert not hasattr(first, "__file__")


def test_a_source_that_fails_leaves_no_module_behind() -> None:
    before = set(sys.modules)
    with pytest.raises(ModelError):
        load_source(b"1 / 0", "a/predict.py")
    assert set(sys.modules) == before


def test_the_module_is_removed_when_its_runner_is_dropped() -> None:
    before, cached = set(sys.modules), set(linecache.cache)
    first, second = (
        load_function(b"def predict(x):\n    return helper(x)\ndef helper(x):\n    return x", "a.py") for _ in "ab"
    )
    function = first._function
    del first
    gc.collect()
    assert len(set(sys.modules) - before) == 1 and "a.py" in linecache.cache
    x = np.ones((2, 1), dtype=np.float32)
    assert (function(x) == second.run(x)).all()
    del second
    gc.collect()
    assert set(sys.modules) <= before and set(linecache.cache) <= cached
    refused("predict = 1")
    assert set(sys.modules) == before


def test_dataclasses_and_annotations_work_in_a_source() -> None:
    source = (
        b"from __future__ import annotations\nfrom dataclasses import dataclass\n"
        b"@dataclass\nclass Table:\n    rows: list[int]\n"
        b"if __name__ == '__main__':\n    raise SystemExit\n"
        b"def predict(x):\n    return x[:, 0] + Table([1]).rows[0]\n"
    )
    assert load_function(source, "f.py").run(np.zeros((1, 3), dtype=np.float32)).tolist() == [[1]]


def test_a_traceback_shows_the_verified_source_and_not_what_the_disk_holds_later(tmp_path: Path) -> None:
    file = tmp_path / "predict.py"
    file.write_text("def predict(x):\n    another line\n")
    with pytest.raises(ModelError) as raised:
        load_function(b"def predict(x):\n    raise KeyError('k')\n", str(file)).run(np.ones((1, 3), dtype=np.float32))
    cause = raised.value.__cause__
    assert cause is not None
    assert "raise KeyError('k')" in "".join(traceback.format_exception(cause))


@pytest.mark.parametrize(
    ("source", "message", "remedy"),
    [
        ("def predict(x)\n", "m/predict.py, line 1: not valid Python", "correct the code"),
        ("\nx = (\n", "m/predict.py, line 2: not valid Python", "correct the code"),
        ("a\0b", "m/predict.py", "correct the code"),
        ("# coding: nonsense\n", "m/predict.py", "correct the code"),
        ("y = 1\n1 / 0\n", "m/predict.py, line 2: ZeroDivisionError: division by zero", "correct the code"),
        ("raise SystemExit(3)\n", "m/predict.py, line 1: SystemExit: 3", "correct the code"),
        ("import not_installed_anywhere.part\n", "line 1: ModuleNotFoundError", "install not_installed_anywhere in"),
        ("from . import helpers\n", "line 1: ImportError", "absolute names"),
        (
            "def forecast(x):\n    return x\n",
            "must define a function predict(x), but it defines none",
            "def predict(x)",
        ),
        ("predict = 3\n", "has a int of that name", "def predict(x)"),
        ("def predict(x, y):\n    return x\n", "m/predict.py: TypeError: predict() missing 1", "correct the code"),
        (
            "def predict(x):\n    return inner(x)\ndef inner(x):\n    return x['a']\n",
            "m/predict.py, line 4: IndexError: only integers",
            "correct the code",
        ),
        ("def predict(x):\n    raise SystemExit(7)\n", "m/predict.py, line 2: SystemExit: 7", "correct the code"),
    ],
)
def test_errors_of_the_code_name_the_file_and_the_line(source: str, message: str, remedy: str) -> None:
    error = refused(source)
    assert error.kind == "code" and message in error.message, error.message
    assert error.remedy is not None and remedy in error.remedy


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        ("None", "NoneType (object [])"),
        ("3.0", "float (float64 [])"),
        ("x.astype(complex)", "ndarray (complex64 [2, 3])".replace("64", "128")),
        ("[['a'], ['b']]", "list (<U1 [2, 1])"),
        ("[[1], [1, 2]]", "list ("),
        ("x[:, :, None]", "ndarray (float32 [2, 3, 1])"),
        ("{'a': 1}", "dict (object [])"),
    ],
)
def test_other_outputs_than_one_array_of_numbers_are_refused(returned: str, found: str) -> None:
    error = refused(f"def predict(x):\n    return {returned}\n")
    assert error.kind == "output_shape" and f"returned {found}" in error.message


def test_outputs_are_converted() -> None:
    for returned in ([1, 2], [True, False], np.array([1, 2], dtype=np.int8), np.array([[1.5], [2.5]])):
        out = as_outputs(returned)
        assert (out.dtype, out.shape, out.flags.c_contiguous) == (np.float32, (2, 1), True)
    assert np.isinf(as_outputs([1e300])).all()
    assert as_outputs(np.arange(6.0).reshape(2, 3).T).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_wrong_number_of_outputs_is_refused_when_it_is_registered(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"returns \[32, 3\] for 32 rows instead of \[32, 1\]"):
        publish_function(tmp_path / "models", "def predict(x):\n    return x\n")
    assert not (tmp_path / "models").exists()


def test_a_function_that_gives_other_outputs_each_time_is_refused_when_it_is_registered(tmp_path: Path) -> None:
    source = "import random\ndef predict(x):\n    return x[:, 0] + random.random()\n"
    with pytest.raises(ModelError, match="converted to python"):
        publish_function(tmp_path / "models", source)


def test_not_finite_outputs_are_refused_when_it_is_registered(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="finite"):
        publish_function(tmp_path / "models", "def predict(x):\n    return x[:, 0] * float('nan')\n")


def test_other_devices_and_parameters_are_refused(tmp_path: Path) -> None:
    publish_function(tmp_path / "models")
    with pytest.raises(ModelError, match="runs on the CPU"):
        load(tmp_path / "models", device="cuda")
    assert load(tmp_path / "models", device="auto").device == "cpu"


def test_a_worker_that_serves_a_function_does_not_import_torch(tmp_path: Path) -> None:
    publish_function(tmp_path / "models", DOUBLE)
    script = (
        "import sys\n"
        "from forebay.models.artefacts.trust import TrustPolicy\n"
        "from forebay.models.backends.protocol import RunOptions\n"
        "from forebay.models.serving.load_gate import load_model\n"
        "repository = sys.argv[1]\n"
        "trust = TrustPolicy(frozenset({repository}))\n"
        "load_model(repository, 'own', options=RunOptions(), trust=trust).warm_up([1])\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "models")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
