"""Helm's error messages for mistyped values and values that do not go together."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
import yaml

from tests.chart.generate import CHART, config_schema, documented, readme_text, schema_text
from tests.chart.render import Helm, Refused

TOGETHER = {
    "kafka.bootstrapServers=": "kafka.bootstrapServers is not set; set it",
    "autoscaling.enabled=true,keda.enabled=true": "autoscaling.enabled and keda.enabled are both true",
    "autoscaling.enabled=true,autoscaling.maxReplicas=5": "autoscaling.maxReplicas = 5 is greater than the number",
    "autoscaling.enabled=true,autoscaling.minReplicas=5": "autoscaling.minReplicas = 5 is greater than the maximum, 4",
    "autoscaling.enabled=true,autoscaling.targetCPUUtilizationPercentage=null": "Percentage are both null",
    "keda.enabled=true": "keda.prometheus.serverAddress is not set",
    "keda.enabled=true,keda.prometheus.serverAddress=http://p,keda.minReplicas=0": "keda.minReplicas = 0 requires keda.trigger",
    "keda.enabled=true,keda.prometheus.serverAddress=http://p,keda.maxReplicas=9": "keda.maxReplicas = 9 is greater than",
    "keda.enabled=true,keda.trigger=kafka,keda.kafka.activationLagThreshold=4": "activationLagThreshold = 4 must be gr",
    "keda.enabled=true,keda.trigger=kafka,kafka.sasl.enabled=true,kafka.sasl.mechanism=OAUTHBEARER,kafka.sasl.tokenCommand=t": (
        "keda.trigger kafka does not support mechanism OAUTHBEARER"
    ),
    "kind=Deployment,staticMembership=true": "staticMembership requires kind StatefulSet",
    "terminationGracePeriodSeconds=29": "terminationGracePeriodSeconds = 29 is too short: preStopSleepSeconds, "
    "config.delivery.drain_timeout_ms and 5 s add up to 30",
    "serviceMonitor.enabled=true,podMonitor.enabled=true": "serviceMonitor.enabled and podMonitor.enabled are both true",
    "models.source=initContainer": "models.initContainer.image is not set",
    "models.initContainer.image=a": "models.initContainer is set, but models.source is example",
    "models.claim.existingClaim=a": "models.claim.existingClaim is set, but models.source is example",
    "podDisruptionBudget.minAvailable=1": "podDisruptionBudget.minAvailable and maxUnavailable are both set",
    "kafka.sasl.enabled=true": "kafka.sasl.existingSecret and kafka.sasl.password are both empty",
    "kafka.sasl.enabled=true,kafka.sasl.password=p": "kafka.sasl.username is not set",
    "kafka.sasl.enabled=true,kafka.sasl.password=p,kafka.sasl.existingSecret=s": "kafka.sasl.password and "
    "kafka.sasl.existingSecret are both set",
    "kafka.sasl.password=p": "kafka.sasl.enabled is false",
    "kafka.sasl.enabled=true,kafka.sasl.mechanism=OAUTHBEARER": "kafka.sasl.tokenCommand is not set",
    "kafka.sasl.enabled=true,kafka.sasl.existingSecret=s,kafka.sasl.tokenCommand=t": "tokenCommand requires mechanism",
    "kafka.tls.existingSecret=s": "kafka.tls.enabled is false",
    "kafka.tls.enabled=true,kafka.tls.existingSecret=s,kafka.tls.ca=c": "kafka.tls.existingSecret and kafka.tls.ca, cert",
    "kafka.tls.enabled=true,kafka.tls.certKey=c": "are keys of kafka.tls.existingSecret, which is not set",
    "kafka.tls.enabled=true,kafka.tls.key=k": "kafka.tls has a private key but no certificate",
    "schemaRegistry.auth.existingSecret=s": "schemaRegistry.urls is empty",
    "schemaRegistry.urls={http://a},schemaRegistry.tls.certKey=c": "are keys of schemaRegistry.tls.existing",
    "schemaRegistry.urls={http://a},schemaRegistry.auth.bearerTokenKey=t": "bearerTokenKey is a key of",
    "schemaRegistry.urls={http://a},schemaRegistry.tls.existingSecret=s,schemaRegistry.tls.keyKey=k": "but no certificate",
    "config.schema_registry.password=p": "is set by the chart; use schemaRegistry.auth.existingSecret",
    "admin.token.value=t,admin.token.existingSecret=s": "admin.token.value and admin.token.existingSecret are both set",
    "aggregator.webhook.value=u,aggregator.webhook.existingSecret=s": "aggregator.webhook.value and aggregator.webhook.ex",
    "aggregator.webhook.value=u,aggregator.enabled=false": "aggregator.webhook is set, but aggregator.enabled is false",
    "config.aggregate.webhook_url=https://hooks.example/secret": "is set by the chart; use aggregator.webhook.existingSecret",
    "config.telemetry.otlp_endpoint=https://user:password@collector": "config.telemetry.otlp_endpoint contains a user name",
    "extraEnv[0].name=FOREBAY_TELEMETRY__OTLP_HEADERS,extraEnv[0].value=secret": "use valueFrom.secretKeyRef instead of value",
    "extraEnv[0].name=FOREBAY_PRIVACY__HASH_KEY,extraEnv[0].value=secret": "use valueFrom.secretKeyRef instead of value",
    "service.type=LoadBalancer": "service.type = LoadBalancer requires a token",
    "service.type=NodePort": "service.type = NodePort requires a token",
    "config.kafka.bootstrap_servers=kafka:9092": "is set by the chart; use kafka.bootstrapServers",
    "extraEnv[0].name=HOME": "extraEnv: HOME is set by the chart; remove it",
    "aggregator.extraEnv[0].name=FOREBAY_ADMIN__PORT": "extraEnv: FOREBAY_ADMIN__PORT is set by the chart; use service.port",
    "config.model.repository=/m": "config.model.repository is set by the chart; use models.source",
    "config.models[0].name=a,config.model.name=b": "config.model.name cannot be set together with config.models; move it",
    "config.models[0].name=a,config.model.version=3": "config.model.version cannot be set together with config.models",
    "config.models[0].name=a,config.window.kind=session": "config.window.kind cannot be set together with config.models",
    "config.models[0].name=a,config.decision.review_from=0": "config.decision.review_from cannot be set together",
    "config.models[0].name=a,config.models[1].name=a": "config.models contains a twice; events choose a model by its name",
    "config.admin.port=1": "config.admin.port is set by the chart; use service.port",
}


@pytest.mark.parametrize("sets", TOGETHER)
def test_incompatible_values_are_refused(sets: str, helm: Helm) -> None:
    with pytest.raises(Refused) as refused:
        helm.template("minimal", sets)
    assert TOGETHER[sets] in str(refused.value)


MISTYPED: Mapping[str, tuple[str, str]] = {
    "an unknown name": ("replicas=3", "additional properties 'replicas' not allowed"),
    "an unknown nested name": ("image.repo=a", "additional properties 'repo' not allowed"),
    "a setting's name": ("config.batch.max_batch_sise=1", "additional properties 'max_batch_sise' not allowed"),
    "a section's name": ("config.btach.max_batch_size=1", "additional properties 'btach' not allowed"),
    "a setting out of range": ("config.batch.max_batch_size=0", "minimum: got 0, want 1"),
    "a setting of another type": ("config.batch.max_batch_size=many", "got string, want"),
    "a choice": (
        "config.delivery.processing_guarantee=exactly-once",
        "value must be one of 'exactly_once', 'at_least_once'",
    ),
    "a kind": ("kind=DaemonSet", "value must be one of 'StatefulSet', 'Deployment'"),
    "a text for a number": ("replicaCount=two", "got string, want integer"),
    "a text for yes or no": ("keda.enabled=yes", "got string, want boolean"),
    "brokers without a port": ("kafka.bootstrapServers=kafka", "does not match pattern"),
    "an object for a list": ("tolerations.key=gpu", "got object, want array"),
    "a name that Kubernetes would refuse": ("kafka.sasl.existingSecret=My_Secret", "does not match pattern"),
    "a setting of a model": (
        "config.models[0].name=a,config.models[0].topic=b",
        "additional properties 'topic' not allowed",
    ),
    "a setting of a model's windows": (
        "config.models[0].name=a,config.models[0].window.size=5",
        "additional properties 'size' not allowed",
    ),
    "a model without a name": ("config.models[0].version=3", "missing property 'name'"),
    "a model's batch size": (
        "config.models[0].name=a,config.models[0].batch.max_batch_size=0",
        "minimum: got 0, want 1",
    ),
    "an alert's field": ("config.aggregate.alerts[0].nam=a", "additional properties 'nam' not allowed"),
}


@pytest.mark.parametrize("mistake", MISTYPED)
def test_mistyped_values_are_refused(mistake: str, helm: Helm) -> None:
    sets, message = MISTYPED[mistake]
    with pytest.raises(Refused) as refused:
        helm.template("minimal", sets)
    assert message in str(refused.value)


def test_schema_and_readme_are_current() -> None:
    assert (CHART / "values.schema.json").read_text() == schema_text(), "run `make chart`"
    assert (CHART / "README.md").read_text() == readme_text(), "run `make chart`"


def test_every_value_is_documented_and_in_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    paths = {value.path for value in documented(CHART / "values.yaml")}

    def look(value: object, place: str, known: Mapping[str, object]) -> None:
        properties = known.get("properties")
        if place in paths or not isinstance(value, dict):
            assert place in paths, f"{place} has no comment that begins with '# --'"
            return
        assert isinstance(properties, dict), place
        assert properties.keys() == value.keys(), place
        for name, one in value.items():
            look(one, f"{place}.{name}", properties[name])

    properties = {name: one for name, one in schema["properties"].items() if name != "global"}
    assert properties.keys() == values.keys()
    for name, value in values.items():
        look(value, name, properties[name])


def test_the_schema_of_the_settings_knows_their_ranges() -> None:
    batch = config_schema()["properties"]["batch"]["properties"]["max_batch_size"]
    assert batch == {"maximum": 65_536, "minimum": 1, "type": ["integer", "null"]}
