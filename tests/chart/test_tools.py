"""Where the programs come from, and what happens if they are unavailable."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from tests.brokers.jars import Unavailable
from tests.chart import tools
from tests.chart.render import CHART, Helm
from tests.needed import needed


def test_helm_has_the_requested_version(helm: Helm, helm_3: Helm) -> None:
    assert helm.run("version", "--short").startswith("v4.") and helm_3.run("version", "--short").startswith("v3.")


def test_the_oldest_kubernetes_that_is_tested_is_the_oldest_that_is_allowed() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == f">={tools.KUBERNETES[0]}-0"


@pytest.mark.parametrize("fetch", [tools.helm, tools.kubernetes_schemas, tools.kubeconform])
def test_a_failed_fetch_reports_the_reason_and_leaves_nothing(
    fetch: Callable[[dict[str, str]], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "no route to host")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("shutil.which", lambda name: None if name == "kubeconform" else f"/usr/bin/{name}")
    with pytest.raises(Unavailable, match="no route to host"):
        fetch({"FOREBAY_CACHE": str(tmp_path)})
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_an_existing_program_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was run"))
    folder = tmp_path / f"helm-{tools.HELM_4[0]}"
    folder.mkdir()
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert tools.helm({"FOREBAY_CACHE": str(tmp_path)}) == folder / "helm"


def test_on_other_platforms_an_installed_helm_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("shutil.which", lambda name: f"/opt/bin/{name}")
    assert tools.helm({}) == Path("/opt/bin/helm")
    with pytest.raises(Unavailable, match=r"no package contains Helm 3\."):
        tools.helm({}, tools.HELM_3)


def test_in_ci_a_missing_program_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch() -> NoReturn:
        raise Unavailable("no Go")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="with CI=true this is a failure: no Go"):
        needed(fetch)
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="no Go"):
        needed(fetch)
