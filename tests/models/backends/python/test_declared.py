"""`@forebay.model`: what it declares, what a version names, and which modules a worker imports."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import forebay
from forebay import Feature, Signature
from forebay.models.artefacts.trust import TrustPolicy
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.python.declared import declaration_of, is_reference
from forebay.models.serving.load_gate import load_model
from forebay.schemas.errors import ModelError
from forebay.stream.cli import main
from forebay.testing import OfflineWorker, assert_outcomes

MODULE = """
import forebay

LIMITS = [100.0, 3.0]


@forebay.model([forebay.Feature("amount"), forebay.Feature("retries")], task="binary")
def risk(x):
    return (x > LIMITS).mean(axis=1)


@forebay.model([forebay.Feature("amount")], name="scaled")
class Scaled:
    def __init__(self):
        self.factor = 2.0

    def predict(self, x):
        return x[:, 0] * self.factor


class Child(Scaled):
    pass


def plain(x):
    return x
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that can be imported only here; the current folder is empty but for it."""
    package = tmp_path / "code" / "shop_of_test"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "scoring.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.chdir(tmp_path)
    yield "shop_of_test.scoring"
    for name in [name for name in sys.modules if name.startswith("shop_of_test")]:
        del sys.modules[name]


def load(trust: TrustPolicy, name: str = "risk") -> object:
    return load_model("models", name, options=RunOptions(), trust=trust)


def trusting(*modules: str) -> TrustPolicy:
    return TrustPolicy(modules=frozenset(modules))


def test_a_declared_function_is_still_a_function() -> None:
    @forebay.model([Feature("a")])
    def twice(x: list[int]) -> list[int]:
        return [2 * value for value in x]

    assert twice([1, 2]) == [2, 4]
    declaration = declaration_of(twice)
    assert declaration is not None and declaration.name == "twice"
    assert declaration.signature == Signature((Feature("a"),), (1,), "regression", 1)


def test_a_version_names_the_module_and_holds_no_code(shop: str, tmp_path: Path) -> None:
    done = forebay.register(f"{shop}:risk", name="risk")
    assert (done.backend, done.module, done.runs_code) == ("python-module", shop, True)
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert manifest["params"] == {"module": shop, "object": "risk"}
    assert not [path for path in done.folder.iterdir() if path.suffix in (".py", ".pkl", ".pickle")]


@pytest.mark.parametrize(
    ("listed", "is_allowed"),
    [
        ("shop_of_test.scoring", True),
        ("shop_of_test", True),
        ("shop", False),
        ("shop_of_test.scor", False),
        ("shop_of_test.scoring.risk", False),
    ],
)
def test_a_module_is_imported_only_if_it_or_its_package_is_listed(shop: str, listed: str, is_allowed: bool) -> None:
    forebay.register(f"{shop}:risk", name="risk")
    del sys.modules[shop]
    if is_allowed:
        load(trusting(listed))
        return
    with pytest.raises(ModelError, match="which the trust policy does not list") as refused:
        load(trusting(listed))
    assert refused.value.kind == "untrusted" and f'add "{shop}" to trust.modules' in str(refused.value.remedy)
    assert shop not in sys.modules


def test_neither_a_digest_nor_a_repository_replaces_the_list(shop: str, tmp_path: Path) -> None:
    done = forebay.register(f"{shop}:risk", name="risk")
    trust = TrustPolicy(frozenset({str(tmp_path / "models")}), frozenset({done.manifest_sha256}))
    with pytest.raises(ModelError, match="does not list"):
        load(trust)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"module": "os", "object": "system"}, "has, but does not declare"),
        ({"module": "shop_of_test.scoring", "object": "plain"}, "has, but does not declare"),
        ({"module": "shop_of_test.scoring", "object": "Child"}, "has, but does not declare"),
        ({"module": "shop_of_test.scoring", "object": "gone"}, "has no gone"),
        ({"module": "shop_of_test.absent", "object": "risk"}, "there is no module shop_of_test.absent"),
        ({"module": "shop_of_test.scoring"}, "params must have module"),
        ({"module": "../shop", "object": "risk"}, "params must have module"),
        ({"module": "os", "object": "a.b"}, "params must have module"),
        ({"module": "os", "object": "path", "x": 1}, "params must have module"),
    ],
)
def test_a_manifest_cannot_name_what_is_not_declared(
    shop: str, tmp_path: Path, params: dict[str, object], message: str
) -> None:
    done = forebay.register(f"{shop}:risk", name="risk")
    path = done.folder / "manifest.json"
    path.chmod(0o644)
    path.write_text(json.dumps({**json.loads(path.read_text()), "params": params}))
    with pytest.raises(ModelError, match=message):
        load(trusting("os", "shop_of_test"))


def test_a_function_that_has_changed_is_refused_by_its_golden_rows(shop: str, tmp_path: Path) -> None:
    forebay.register(f"{shop}:risk", name="risk")
    (tmp_path / "code" / "shop_of_test" / "scoring.py").write_text(MODULE.replace("100.0, 3.0", "-1.0, 3.0"))
    for name in [name for name in sys.modules if name.startswith("shop_of_test")]:
        del sys.modules[name]
    with pytest.raises(ModelError, match="golden"):
        load(trusting("shop_of_test"))


def test_a_version_is_imported_where_its_module_is_listed(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    forebay.register(f"{shop}:risk", name="risk")
    assert main(["models", "export", "risk", "risk.zip"]) == 0
    arguments = ["models", "import", "risk.zip", "--repository", "other"]
    assert main(arguments) == 1
    assert "which the trust policy does not list" in capsys.readouterr().err
    assert main([*arguments, "--set", f"trust.modules={shop}"]) == 0


def test_a_class_is_built_once_and_its_method_is_called(shop: str) -> None:
    forebay.register(f"{shop}:Scaled", name="scaled")
    model = forebay.load("models", "scaled", settings={"trust.modules": [shop]})
    (outcome,) = model.predict([[3.5]])
    assert outcome.prediction["prediction"] == [7.0]


def test_the_command_prints_the_line_that_trusts_the_module(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "register", f"{shop}:risk", "--name", "risk"]) == 0
    assert f'[trust]\nmodules = ["{shop}"]' in capsys.readouterr().out
    assert main(["models", "register", f"{shop}:absent", "--name", "risk"]) == 1
    assert "has no absent" in capsys.readouterr().err
    assert main(["models", "validate"]) == 1
    assert main(["models", "validate", "--set", f"trust.modules={shop}"]) == 0
    assert main(["models", "validate", "--set", "trust.modules=a-b"]) == 2
    assert "not the name of a module" in capsys.readouterr().err


def test_a_declared_model_is_tested_without_a_repository(shop: str) -> None:
    from shop_of_test.scoring import risk  # type: ignore[import-not-found]

    worker = OfflineWorker.from_model(risk)
    outcomes = worker.outcomes([{"features": {"amount": 250.0, "retries": 5}}, {"features": {"amount": 250.0}}])
    assert_outcomes(outcomes, predicted=1, missing_field=1)
    assert outcomes[0].prediction["prediction"] == [1.0]


def test_what_a_worker_could_not_import_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @forebay.model([Feature("a")])
    def local(x: object) -> object:
        return x

    with pytest.raises(ModelError, match="is not a name at the top level"):
        forebay.register(local, name="local", repository=tmp_path)
    local.__module__ = "__main__"
    with pytest.raises(ModelError, match="defined in the script itself"):
        forebay.register(local, name="local", repository=tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: forebay.model([]), "the signature is list"),
        (lambda: forebay.model([Feature("a")], task="multiclass"), "no labels"),
        (lambda: forebay.model([Feature("a")], outputs="odds")(np.mean), "outputs is 'odds'"),
        (lambda: forebay.model([Feature("a")])(3), "@forebay.model decorates int"),  # type: ignore[type-var]
        (lambda: forebay.model([Feature("a")])(int), "@forebay.model decorates type int"),
    ],
)
def test_a_wrong_declaration_is_refused(call: object, message: str) -> None:
    with pytest.raises(ModelError, match=textwrap.shorten(message, 200)):
        call()  # type: ignore[operator]


def test_references() -> None:
    assert is_reference("shop.scoring:risk")
    assert not any(map(is_reference, ("models:/churn@best", "churn.txt", "C:/model.onnx", "a:b:c", "a.:b", "s3://x")))
