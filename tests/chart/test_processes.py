"""Several worker processes in a pod: their setting, and the number of pods that are useful."""

from __future__ import annotations

import tomllib

import pytest

from tests.chart.render import Helm, Refused


@pytest.mark.parametrize("value", ["worker.processes=3", "config.worker.processes=3"])
def test_the_setting_reaches_the_worker(helm: Helm, value: str) -> None:
    assert tomllib.loads(helm.objects("minimal", value).toml())["worker"] == {"processes": 3}


def test_without_the_value_there_is_no_setting(helm: Helm) -> None:
    assert "worker" not in tomllib.loads(helm.objects("minimal").toml())


@pytest.mark.parametrize(("processes", "most"), [("1", 4), ("3", 2), ("8", 1), ("auto", 4)])
def test_no_more_pods_than_have_partitions(helm: Helm, processes: str, most: int) -> None:
    objects = helm.objects("minimal", "autoscaling.enabled=true", f"worker.processes={processes}")
    (scaler,) = [one for one in objects if one["kind"] == "HorizontalPodAutoscaler"]
    assert scaler["spec"]["maxReplicas"] == most


def test_more_pods_are_refused(helm: Helm) -> None:
    with pytest.raises(Refused, match="number of input partitions, 4 for pods with 3 processes"):
        helm.objects("minimal", "autoscaling.enabled=true", "worker.processes=3", "autoscaling.maxReplicas=3")
