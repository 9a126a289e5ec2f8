"""The chart as a package: its version and its files."""

from __future__ import annotations

import tarfile
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from tests.chart.render import CHART, Helm

ROOT = CHART.parent


def test_chart_and_project_have_one_version() -> None:
    chart: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == project == version("forebay")


def test_the_chart_has_no_files_that_it_does_not_need(helm: Helm, tmp_path: Path) -> None:
    """The packaged chart is small and contains only the files and folders listed here."""
    helm.run("package", str(CHART), "-d", str(tmp_path))
    (package,) = tmp_path.iterdir()
    with tarfile.open(package) as tar:
        names = [name.removeprefix("forebay/") for name in tar.getnames()]
    top = {name.split("/")[0] for name in names}
    assert top <= {
        "Chart.yaml",
        "values.yaml",
        "values.schema.json",
        "README.md",
        "README.md.gotmpl",
        ".helmignore",
        "templates",
        "files",
    }
    assert package.stat().st_size < 500_000
