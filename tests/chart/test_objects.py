"""The objects of a release agree with each other in every case, and single values have their effects."""

from __future__ import annotations

import tomllib
from base64 import b64decode
from typing import Any

import promql_parser
import pytest
import yaml

from forebay.stream.telemetry.catalogue import CONSUMER_LAG_RECORDS
from tests.chart.render import CASES, CHART, Helm, Object, Objects, Refused, containers

SCRAPED: list[Any] = [{"key": "app.kubernetes.io/component", "operator": "In", "values": ["worker", "aggregator"]}]


def selected(objects: Objects, labels: Object) -> list[str]:
    """Return the components of the workloads whose pods a selector matches."""
    return [
        one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for one in objects
        if one["kind"] in ("StatefulSet", "Deployment")
        and labels.items() <= one["spec"]["template"]["metadata"]["labels"].items()
    ]


@pytest.mark.parametrize("case", CASES)
def test_every_pod_meets_the_restricted_standard(case: str, helm: Helm) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, for the chart's own containers."""
    for name, spec in helm.objects(case).pod_specs():
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True and pod["runAsUser"] > 0, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not spec.get("hostNetwork") and not spec.get("hostPID") and not spec.get("hostIPC")
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
        kinds = {"configMap", "emptyDir", "secret", "persistentVolumeClaim"}
        assert all(set(volume) - {"name"} <= kinds for volume in spec["volumes"]), name
        for container in containers(spec):
            if container["name"] in ("sidecar", "wait"):
                continue  # the user's own
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, container["name"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
        # The root file system is read-only, so a pod can fill a node's disk only through these volumes.
        assert all(
            "sizeLimit" in one["emptyDir"] for one in spec["volumes"] if "emptyDir" in one and one["name"] != "cache"
        )


@pytest.mark.parametrize("case", CASES)
def test_references_lead_somewhere(case: str, helm: Helm) -> None:
    objects = helm.objects(case)
    made = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for name, spec in objects.pod_specs():
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for container in containers(spec):
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in volumes, f"{name}/{container['name']} mounts {mount['name']}"
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in made
    worker = objects.worker()
    labels = worker["spec"]["selector"]["matchLabels"]
    assert labels.items() <= worker["spec"]["template"]["metadata"]["labels"].items()
    assert selected(objects, labels) == ["worker"]
    for one in objects:
        spec = one.get("spec", {})
        if one["kind"] == "Service":
            aggregates = one["metadata"]["name"].endswith("-aggregator")
            assert selected(objects, spec["selector"]) == ["aggregator" if aggregates else "worker"]
            assert spec["ports"][0]["targetPort"] == "http"
        elif one["kind"] == "PodDisruptionBudget":
            assert selected(objects, spec["selector"]["matchLabels"]) == ["worker"]
        elif one["kind"] == "PodMonitor":
            assert sorted(selected(objects, spec["selector"]["matchLabels"])) == ["aggregator", "worker"]
            assert spec["selector"]["matchExpressions"] == SCRAPED
        elif one["kind"] == "ServiceMonitor":
            assert spec["selector"]["matchExpressions"] == SCRAPED
            services = [
                each["metadata"]["name"]
                for each in objects
                if each["kind"] == "Service"
                and spec["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
                and each["metadata"]["labels"]["app.kubernetes.io/component"] in SCRAPED[0]["values"]
            ]
            assert sorted(services) == ["forebay", "forebay-aggregator"]  # not again through the headless one
        elif "scaleTargetRef" in spec:
            target = spec["scaleTargetRef"]
            assert (target["kind"], target["name"]) == (worker["kind"], worker["metadata"]["name"])
            assert "replicas" not in worker["spec"]
    if worker["kind"] == "StatefulSet":
        assert ("Service", worker["spec"]["serviceName"]) in made


@pytest.mark.parametrize("case", CASES)
def test_a_pod_has_time_to_drain(case: str, helm: Helm) -> None:
    objects = helm.objects(case)
    spec = objects.worker()["spec"]["template"]["spec"]
    drain_s = tomllib.loads(objects.toml()).get("delivery", {}).get("drain_timeout_ms", 20_000) / 1000
    (worker,) = [one for one in spec["containers"] if one["name"] == "worker"]
    sleep_s = worker.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert spec["terminationGracePeriodSeconds"] >= sleep_s + drain_s + 5


def test_probes_ask_the_admin_api(helm: Helm) -> None:
    objects = helm.objects()
    for one in (objects.worker(), objects.of("Deployment", "forebay-aggregator")):
        container = one["spec"]["template"]["spec"]["containers"][0]
        assert container["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
        asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
        assert asked == {
            "startup": {"path": "/startupz", "port": "http"},
            "liveness": {"path": "/healthz", "port": "http"},
            "readiness": {"path": "/readyz", "port": "http"},
        }


@pytest.mark.parametrize("case", ["production", "deployment", "keda-kafka", "sasl-tls"])
def test_labels_and_annotations_are_everywhere(case: str, helm: Helm) -> None:
    more = {"commonLabels": {"team": "a"}, "commonAnnotations": {"example.com/owner": "b"}}
    for one in helm.objects(case, values=more):
        if one["metadata"]["name"].endswith("-extra"):
            continue  # the user's own
        metadata = [one["metadata"]]
        if "template" in one.get("spec", {}):
            metadata.append(one["spec"]["template"]["metadata"])
        for each in metadata:
            assert each["labels"]["team"] == "a" and each["annotations"]["example.com/owner"] == "b", one["kind"]
            assert each["labels"]["app.kubernetes.io/instance"] == "forebay"


def test_a_gpu(helm: Helm) -> None:
    objects = helm.objects("gpu")
    spec = objects.worker()["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "2Gi", "nvidia.com/gpu": 1}
    assert spec["runtimeClassName"] == "nvidia" and spec["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert tomllib.loads(objects.toml())["model"]["device"] == "cuda"
    # Containers that do not run the model request no GPU.
    for name, pod in objects.pod_specs():
        for container in containers(pod):
            if (name, container["name"]) != ("forebay", "worker"):
                assert "nvidia.com/gpu" not in container.get("resources", {}).get("limits", {})


def test_keda_scales_by_the_lag_that_can_be_read(helm: Helm) -> None:
    scaler = helm.objects("keda").of("ScaledObject")["spec"]
    assert (scaler["minReplicaCount"], scaler["maxReplicaCount"]) == (2, 16)
    (trigger,) = scaler["triggers"]
    assert trigger["type"] == "prometheus"
    assert trigger["metadata"] == {
        "serverAddress": "http://prometheus-operated.monitoring:9090",
        "query": 'sum(max by (topic, partition) (forebay_consumer_lag_records{namespace="streams",pod=~"forebay-.+"}))',
        "threshold": "10000",
        "ignoreNullValues": "false",
    }
    promql_parser.parse(trigger["metadata"]["query"])
    assert trigger["metadata"]["query"].count(CONSUMER_LAG_RECORDS.prometheus_name) == 1


def test_keda_by_offsets_logs_in_and_ignores_markers(helm: Helm) -> None:
    objects = helm.objects("keda-kafka", "config.input.topics={a,b}", "config.topics.prefix=p.")
    scaler = objects.of("ScaledObject")["spec"]
    assert (scaler["minReplicaCount"], scaler["maxReplicaCount"]) == (0, 8)
    assert [one["metadata"]["topic"] for one in scaler["triggers"]] == ["p.a", "p.b"]
    assert {one["metadata"]["activationLagThreshold"] for one in scaler["triggers"]} == {"80"}
    login = objects.of("TriggerAuthentication")["spec"]
    assert {one["parameter"]: (one["name"], one["key"]) for one in login["secretTargetRef"]} == {
        "username": ("kafka-user", "username"),
        "password": ("kafka-user", "password"),
        "ca": ("kafka-ca", "ca.crt"),
    }
    for trigger in scaler["triggers"]:
        assert trigger["metadata"]["sasl"] == "scram_sha512" and trigger["metadata"]["tls"] == "enable"
        assert trigger["authenticationRef"] == {"name": "forebay"}


def test_keda_by_offsets_with_a_user_that_is_a_value(helm: Helm) -> None:
    objects = helm.objects("sasl-tls", "keda.enabled=true,keda.trigger=kafka")
    data = objects.of("Secret")["data"]
    references = objects.of("TriggerAuthentication")["spec"]["secretTargetRef"]
    assert {one["parameter"] for one in references} == {"username", "password", "ca", "cert", "key"}
    assert all(one["name"] == "forebay" and one["key"] in data for one in references)
    assert b64decode(data["sasl-username"]) == b"forebay"


def test_windows_have_no_test_of_one_event(helm: Helm) -> None:
    assert "Pod/forebay-test" in helm.objects("minimal", "config.window.kind=none").kinds()
    assert "Pod/forebay-test" not in helm.objects("minimal", "config.window.kind=session").kinds()


def test_names(helm: Helm) -> None:
    def names(release: str, *sets: str) -> set[str]:
        options = ["-f", str(CASES["minimal"]), *(part for one in sets for part in ("--set", one))]
        text = helm.run("template", release, str(CHART), *options)
        return {one["metadata"]["name"] for one in yaml.safe_load_all(text) if one}

    assert names("flights") == {
        "flights-forebay",
        "flights-forebay-headless",
        "flights-forebay-aggregator",
        "flights-forebay-test",
    }
    assert "other" in names("flights", "fullnameOverride=other")
    longest = names("a" * 53)
    assert max(map(len, longest)) <= 63 and len(longest) == 4
    with pytest.raises(Refused, match="does not match pattern"):
        names("flights", "fullnameOverride=Not_A_Name")


def test_what_can_be_left_out(helm: Helm) -> None:
    fewer = helm.objects(
        "minimal",
        "aggregator.enabled=false,tests.enabled=false,podDisruptionBudget.enabled=false,serviceAccount.create=false",
        "networkPolicy.enabled=false",
        "topics.create=false,models.source=image,preStopSleepSeconds=0,livenessProbe=null",
    )
    assert fewer.kinds() == ["ConfigMap/forebay", "Service/forebay", "Service/forebay-headless", "StatefulSet/forebay"]
    spec = fewer.worker()["spec"]["template"]["spec"]
    assert "initContainers" not in spec and "lifecycle" not in spec["containers"][0]
    assert "livenessProbe" not in spec["containers"][0] and spec["serviceAccountName"] == "default"


def test_every_dashboard_and_rule_is_included(helm: Helm) -> None:
    objects = helm.objects("production")
    dashboards = [one for one in objects if "dashboard" in one["metadata"]["name"]]
    files = sorted((CHART / "files/dashboards").glob("*.json"))
    assert files
    assert {name: text for one in dashboards for name, text in one["data"].items()} == {
        f"forebay-{path.name}": path.read_text() for path in files
    }
    assert all(one["metadata"]["labels"]["grafana_dashboard"] == "1" for one in dashboards)
    assert {one["metadata"]["namespace"] for one in dashboards} == {"monitoring"}
    rules = [
        group
        for path in (CHART / "files/alerts").glob("*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    assert rules
    assert objects.of("PrometheusRule")["spec"]["groups"] == rules


GUARDED = ("admin.token.existingSecret=t", "admin.tls.existingSecret=s")


@pytest.mark.parametrize(
    ("sets", "warning"),
    [
        ((), "no token. Every client that can connect to port 8080 (from namespace streams) can pause the workers"),
        (
            ("networkPolicy.enabled=false",),
            "no token. Every client that can connect to port 8080 (from the whole cluster)",
        ),
        (("networkPolicy.ingressFrom[0].podSelector.matchLabels.a=b",), "8080 (from networkPolicy.ingressFrom)"),
        (("admin.token.existingSecret=t",), "The admin API's token is sent unencrypted. Set admin.tls.existingSecret"),
        (("networkPolicy.enabled=false", *GUARDED), "No NetworkPolicy restricts connections to the pods"),
        (
            ("serviceMonitor.enabled=true", *GUARDED),
            "If Prometheus runs in another namespace, set networkPolicy.ingressFrom",
        ),
        (
            ("podMonitor.enabled=true", *GUARDED),
            "If Prometheus runs in another namespace, set networkPolicy.ingressFrom",
        ),
        (
            ("service.type=LoadBalancer", *GUARDED),
            "For clients of the LoadBalancer Service, set networkPolicy.ingressFrom",
        ),
        (
            ("kafka.sasl.enabled=true", "kafka.sasl.existingSecret=k"),
            "Kafka credentials and events are sent unencr",
        ),
        (("config.rollouts.enabled=true",), "with models.source=example each pod has its own copy of the models"),
    ],
)
def test_notes_warn_of_open_doors(sets: tuple[str, ...], warning: str, helm: Helm) -> None:
    assert warning in notes_of(helm, *sets)


def test_notes_name_the_models_and_all_topics(helm: Helm) -> None:
    models = 'json:config.models=[{"name": "churn"}, {"name": "visits", "topics": ["clicks"]}]'
    notes = notes_of(helm, models)
    assert "reads features, clicks at kafka:9092" in notes
    assert (
        "It serves churn, visits (clicks). Events that name no model go to the model of their topic, else to churn."
        in notes
    )
    assert "It serves" not in notes_of(helm) and "models rollout" not in notes_of(helm)
    assert "models rollout MODEL" in notes_of(helm, "config.rollouts.enabled=true")


def notes_of(helm: Helm, *sets: str) -> str:
    options = [
        part for one in sets for part in (("--set-json", one[5:]) if one.startswith("json:") else ("--set", one))
    ]
    command = ["install", "forebay", str(CHART), "-n", "streams", "--dry-run=client", "-f", str(CASES["minimal"])]
    return helm.run(*command, *options).partition("NOTES:")[2]


def test_by_default_only_the_namespace_reaches_the_admin_api(helm: Helm) -> None:
    policy = helm.objects().of("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"] and "egress" not in policy
    assert policy["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}], "from": [{"podSelector": {}}]}]
    assert sorted(selected(helm.objects(), policy["podSelector"]["matchLabels"])) == ["aggregator", "worker"]
    out = helm.objects("minimal", "networkPolicy.egress=true").of("NetworkPolicy")["spec"]
    assert out["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"][0]["port"] for rule in out["egress"]] == [53, 9092]
    assert "NetworkPolicy/forebay" not in helm.objects("minimal", "networkPolicy.enabled=false").kinds()


@pytest.mark.parametrize("kind", ["serviceMonitor", "podMonitor"])
def test_prometheus_sends_the_token_to_a_verified_server_only(kind: str, helm: Helm) -> None:
    sets = [f"{kind}.enabled=true", *GUARDED]

    def endpoint(*more: str) -> Object:
        (monitor,) = [one for one in helm.objects("minimal", *sets, *more) if one["kind"].endswith("Monitor")]
        (found,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        return dict(found)

    assert endpoint()["scheme"] == "https"
    assert endpoint()["authorization"]["credentials"] == {"name": "t", "key": "token"}
    assert endpoint()["tlsConfig"] == {
        "serverName": "forebay.streams.svc",
        "ca": {"secret": {"name": "s", "key": "ca.crt"}},
    }
    public = endpoint("admin.tls.caKey=", "admin.tls.serverName=flights.example.org")
    assert public["tlsConfig"] == {"serverName": "flights.example.org"}


def test_the_webhook_comes_from_a_secret_and_goes_to_the_aggregator_only(helm: Helm) -> None:
    def webhooks(*sets: str) -> dict[str, Object]:
        return {
            name: entry["valueFrom"]["secretKeyRef"]
            for name, spec in helm.objects("minimal", *sets).pod_specs()
            for container in containers(spec)
            for entry in container.get("env", [])
            if entry["name"] == "FOREBAY_AGGREGATE__WEBHOOK_URL"
        }

    assert webhooks() == {}
    by_reference = {"forebay-aggregator": {"name": "alerts", "key": "url"}}
    assert webhooks("aggregator.webhook.existingSecret=alerts") == by_reference
    given = "aggregator.webhook.value=https://hooks.example/secret"
    assert webhooks(given) == {"forebay-aggregator": {"name": "forebay", "key": "webhook-url"}}
    assert "hooks.example" not in str([one for one in helm.objects("minimal", given) if one["kind"] != "Secret"])


def test_notes_show_how_to_publish_subscribe_and_inspect(helm: Helm) -> None:
    def notes(*sets: str) -> str:
        return notes_of(helm, *sets)

    told = notes()
    for command in (
        "exec statefulset/forebay -c worker -- forebay publish --features '[0.5, -1.0, 2.0]' --wait 30",
        "exec statefulset/forebay -c worker -- forebay tail predictions",
        "port-forward service/forebay 8080",
        "helm test forebay -n streams",
    ):
        assert command in told
    assert "! The workers serve an example model" in told and "have 1 replica." in told
    quiet = notes("models.source=image", "config.topics.replication_factor=3", *GUARDED)
    assert "!" not in quiet
    assert "8 workers, but only 4 input partitions" in notes("replicaCount=8")
    windows = notes("config.window.kind=tumbling", "config.window.size_ms=60000")
    assert "is added to a window" in windows and "--wait" not in windows and "helm test" not in windows
    assert "Secrets given as values" in notes("admin.token.value=t")
