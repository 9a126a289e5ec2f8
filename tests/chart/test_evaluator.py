"""The objects of the evaluator, which is off by default."""

from __future__ import annotations

import pytest

from tests.chart.render import Helm, Refused
from tests.chart.test_objects import selected


def test_the_evaluator_is_made_if_it_is_enabled(helm: Helm) -> None:
    assert "Deployment/forebay-evaluator" not in helm.objects("production").kinds()
    objects = helm.objects("production", "evaluator.enabled=true")
    evaluator = objects.of("Deployment", "forebay-evaluator")
    labels = evaluator["spec"]["selector"]["matchLabels"]
    assert selected(objects, labels) == ["evaluator"]
    (container,) = evaluator["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["evaluate"] and container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert selected(objects, objects.of("Service", "forebay-evaluator")["spec"]["selector"]) == ["evaluator"]
    monitor = next(one for one in objects if one["kind"] in ("ServiceMonitor", "PodMonitor"))
    assert monitor["spec"]["selector"]["matchExpressions"][0]["values"] == ["worker", "aggregator", "evaluator"]
    policy = next(one for one in objects if one["kind"] == "NetworkPolicy")["spec"]
    assert "evaluator" in selected(objects, policy["podSelector"]["matchLabels"])
    config = objects.of("ConfigMap", "forebay")["data"]["forebay.toml"]
    assert "[evaluate]\nenabled = true" in config and "forebay-evaluator" in config
    with pytest.raises(Refused, match=r"config\.evaluate\.enabled is false"):
        helm.objects("production", "evaluator.enabled=true,config.evaluate.enabled=false")
