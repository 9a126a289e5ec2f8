"""The public names of `import forebay`: complete, the same for type checkers, and free of cost until used."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import forebay

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", forebay.__all__)
def test_each_public_name_is_imported_when_it_is_used(name: str) -> None:
    assert getattr(forebay, name).__name__ == name
    assert name in dir(forebay)


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse((ROOT / "forebay" / "__init__.py").read_text())
    declared = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared.keys() == set(forebay.__all__)
    assert {name: getattr(forebay, name).__module__ for name in declared} == declared


def test_the_version_is_that_of_the_distribution() -> None:
    assert forebay.__version__ == version("forebay")
    assert "__version__" in dir(forebay)


def test_without_an_installed_distribution_there_is_no_version() -> None:
    script = "import forebay; print(hasattr(forebay, '__version__'))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=ROOT, env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'forebay' has no attribute 'nothing'"):
        _ = forebay.nothing  # type: ignore[attr-defined]


def test_importing_forebay_loads_neither_torch_nor_numpy() -> None:
    script = "import sys, forebay; print(*sorted({'torch', 'numpy', 'aiokafka', 'click'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_module_of_the_user_does_not_hide_ours(tmp_path: Path) -> None:
    for name in ("models", "stream", "schemas"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')")
    script = tmp_path / "script.py"
    script.write_text("from forebay import Feature, Signature\nimport forebay.stream.cli\nprint(Feature('age').name)")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("age\n", "")


@pytest.mark.parametrize("module", ["models", "models.artefacts.signature", "stream.cli", "schemas.errors"])
def test_a_directory_of_the_checkout_is_not_a_package_of_its_own(module: str) -> None:
    package = module.partition(".")[0]
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"ImportError: `{package}` is a part of the package `forebay`: import `forebay.{package}`\n" in done.stderr


def test_a_checkout_without_its_links_names_the_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "forebay"
    folder.mkdir()
    (folder / "__init__.py").write_text((ROOT / "forebay" / "__init__.py").read_text())
    (folder / "stream").write_text("../stream")  # as some archives extract a link
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import forebay"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "ImportError: the symbolic links in forebay/ are missing; run `.ci/setup-venv dev`" in done.stderr
