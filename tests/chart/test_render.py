"""The rendered chart: lint, snapshots, and validation against Kubernetes' own schemas."""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.chart.render import CASES, CHART, HERE, Helm
from tests.chart.tools import KUBERNETES

# The first run builds kubeconform, while other tests may be running.
pytestmark = pytest.mark.timeout(600)

SNAPSHOTS = HERE / "snapshots"
SCHEMA = "{{ .ResourceKind }}{{ .KindSuffix }}.json"


@pytest.mark.parametrize("case", CASES)
def test_lint_finds_nothing(case: str, helm: Helm) -> None:
    said = helm.run("lint", "--strict", str(CHART), "-f", str(CASES[case]))
    assert "[WARNING]" not in said and "[ERROR]" not in said and "1 chart(s) linted, 0 chart(s) failed" in said


def readable(rendered: str) -> str:
    """Return the text without uninformative parts: digests, dashboards, rules and the example model."""
    text = re.sub(r"(checksum/\w+: )[0-9a-f]{64}", r"\1(digest)", rendered)
    text = re.sub(r"(  forebay-[\w-]+\.json: )\|\n(?: {4}.*\n|\n)+", r"\1(a dashboard)\n", text)
    text = re.sub(r"(kind: PrometheusRule\n(?:(?!---).*\n)+?  groups:\n)(?: {4}.*\n)+", r"\1    (rules)\n", text)
    text = re.sub(r'( +- \|\n)( +)"""Writes(?:.*\n)+?( +- /models\n)', r"\1\2(helm/files/example_model.py)\n\3", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@pytest.mark.parametrize("case", CASES)
def test_snapshot(case: str, helm: Helm) -> None:
    """Compare with the stored snapshot: all of `minimal`, and for the others their differences from it.

    FOREBAY_UPDATE_SNAPSHOTS=1 rewrites the snapshots.
    """
    text, path = readable(helm.template(case)), SNAPSHOTS / f"{case}.yaml"
    if case != "minimal":
        lines = difflib.unified_diff(
            readable(helm.template("minimal")).splitlines(), text.splitlines(), "minimal", case, lineterm="", n=2
        )
        # Line numbers are left out, else each new line of `minimal` would change all of them.
        text, path = "\n".join(re.sub("^@@.*@@", "@@", line) for line in lines) + "\n", SNAPSHOTS / f"{case}.diff"
    if os.environ.get("FOREBAY_UPDATE_SNAPSHOTS"):
        path.write_text(text)
    assert text == path.read_text(), "if this is intended: FOREBAY_UPDATE_SNAPSHOTS=1 pytest tests/chart"


def test_there_is_no_snapshot_without_a_case() -> None:
    assert {path.stem for path in SNAPSHOTS.iterdir()} == set(CASES)


def test_helm_3_renders_the_same(helm: Helm, helm_3: Helm) -> None:
    def objects(program: Helm, case: str) -> list[str]:
        return sorted(json.dumps(one, sort_keys=True) for one in program.objects(case))

    for case in CASES:
        assert objects(helm_3, case) == objects(helm, case), case


def conform(kubeconform: Path, schemas: tuple[Path, Path], version: str, *files: Path) -> dict[str, str]:
    """Return the objects that do not conform, with the reasons."""
    command = [str(kubeconform), "-strict", "-output", "json", "-kubernetes-version", version]
    command += ["-schema-location", f"{schemas[0]}/{version}/{SCHEMA}", "-schema-location", f"{schemas[1]}/{SCHEMA}"]
    said = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False, timeout=60)
    found = json.loads(said.stdout)["resources"] or []
    assert (said.returncode != 0) == bool(found), said.stderr
    return {f"{Path(one['filename']).stem}: {one['kind']}/{one['name']}": one["msg"] for one in found}


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_conforms(
    version: str, helm: Helm, kubeconform: Path, schemas: tuple[Path, Path], tmp_path: Path
) -> None:
    for case in CASES:
        (tmp_path / f"{case}.yaml").write_text(helm.template(case))
    assert conform(kubeconform, schemas, version, *tmp_path.iterdir()) == {}


@pytest.mark.parametrize(
    ("case", "right", "wrong", "where"),
    [
        ("minimal", "serviceName: forebay-headless", "serviceNam: forebay-headless", "StatefulSet"),
        ("minimal", "containerPort: 8080", "containerPort: http", "StatefulSet"),
        ("keda", "minReplicaCount: 2", "minReplicas: 2", "ScaledObject"),
        ("production", "path: /metrics", "paths: /metrics", "ServiceMonitor"),
    ],
)
def test_an_object_that_does_not_conform_is_found(
    case: str,
    right: str,
    wrong: str,
    where: str,
    helm: Helm,
    kubeconform: Path,
    schemas: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    text = helm.template(case)
    assert right in text
    (tmp_path / "broken.yaml").write_text(text.replace(right, wrong))
    found = conform(kubeconform, schemas, KUBERNETES[-1], tmp_path / "broken.yaml")
    assert f"broken: {where}/forebay" in found
