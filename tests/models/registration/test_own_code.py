"""Candidates from a file of the user's own code."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.models.artefacts.signature import Feature
from forebay.models.registration.hints import Hints
from forebay.models.registration.own_code import own_outputs, read_function
from forebay.models.registration.source import check_definitions_only, check_self_contained
from forebay.schemas.errors import ModelError
from tests.models.build import make_signature


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("import helpers", "line 2: imports helpers"),
        ("import helpers.part as part", "line 2: imports helpers.part"),
        ("from package import thing", "line 2: imports package"),
        ("def f():\n    from helpers import g", "line 3: imports helpers"),
        ("from . import anything", "line 2: imports ., a file"),
        ("from .deep import anything", "line 2: imports .deep"),
    ],
)
def test_a_source_that_imports_a_file_beside_it_is_refused(tmp_path: Path, statement: str, shown: str) -> None:
    (tmp_path / "helpers.py").touch()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    with pytest.raises(ModelError) as raised:
        check_self_contained(f"import json\n{statement}\n".encode(), tmp_path / "own.py")
    assert shown in raised.value.message
    assert raised.value.remedy is not None and "own.py" in raised.value.remedy


def test_imports_that_a_worker_does_not_need_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").touch()
    (tmp_path / "data").mkdir()  # a folder without modules
    source = b"import json, numpy.linalg, data\nif __name__ == '__main__':\n    import helpers\n"
    check_self_contained(source, tmp_path / "own.py")


@pytest.mark.parametrize(
    "source", ["train()", "x = train()", "for i in range(3):\n    pass", "if True:\n    pass\nelse:\n    pass"]
)
def test_a_script_that_does_more_than_define_is_refused(source: str) -> None:
    with pytest.raises(ModelError, match=r"own.py, line 2: the script runs code there"):
        check_definitions_only(f"import json\n{source}\n".encode(), Path("own.py"))


def test_a_script_that_only_defines_is_accepted() -> None:
    source = (
        b'"""A docstring."""\nimport json\nfrom os import path\nWIDTH = 3 * 2\nNAMES: list[str] = ["a"]\n'
        b"class A: pass\ndef f(): train()\nif __name__ == '__main__':\n    train()\n"
    )
    check_definitions_only(source, Path("own.py"))


def test_a_file_that_cannot_be_registered_names_the_reason(tmp_path: Path) -> None:
    hints = Hints("own", signature=make_signature(task="regression", output_dim=1))
    with pytest.raises(ModelError, match=r"own.py: cannot be read: No such file"):
        read_function(tmp_path / "own.py", hints)
    (tmp_path / "own.py").write_text("def predict(x):\n    return (\n")
    with pytest.raises(ModelError, match=r"own.py, line 2: not valid Python"):
        read_function(tmp_path / "own.py", hints)
    (tmp_path / "own.py").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ModelError, match="1048577 bytes; allowed are at most 1048576"):
        read_function(tmp_path / "own.py", hints)


def test_a_classifier_returns_probabilities_unless_stated() -> None:
    classifier, regression = make_signature(), make_signature(task="regression", output_dim=1)
    assert own_outputs(classifier, None, classifier="probabilities") == "probabilities"
    assert own_outputs(classifier, "logits", classifier="probabilities") == "logits"
    assert own_outputs(regression, None, classifier="probabilities") == "values"


def test_a_signature_is_completed_by_the_number_of_outputs(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def predict(x):\n    return x[:, :2]\n")
    features = (Feature("a"), Feature("b"), Feature("c"))
    signature = read_function(tmp_path / "own.py", Hints("own", features=features, task="multiclass")).signature
    assert (signature.features, signature.output_dim, signature.task) == (features, 2, "multiclass")
    with pytest.raises(ModelError, match="'own': the model does not say what it takes and returns, and signature"):
        read_function(tmp_path / "own.py", Hints("own"))
    with pytest.raises(ModelError, match="and task is not stated"):
        read_function(tmp_path / "own.py", Hints("own", features=features))
