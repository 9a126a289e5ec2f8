"""The chart on a real cluster: install, upgrade, roll back and uninstall.

Runs only if FOREBAY_TEST_KUBE_CONTEXT names a context, because tests must not install into whichever cluster kubectl points at.
No test waits for pods: providing their image and a Kafka is up to the cluster (tests/chart/test_pods.py runs their contents).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.render import CASES, CHART, Helm

CONTEXT = os.environ.get("FOREBAY_TEST_KUBE_CONTEXT", "")

pytestmark = pytest.mark.skipif(not CONTEXT, reason="FOREBAY_TEST_KUBE_CONTEXT names no cluster")


def kubectl(*arguments: str) -> str:
    program = shutil.which("kubectl")
    assert program is not None, "kubectl is not on the PATH"
    command = [program, "--context", CONTEXT, *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    return said.stdout


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace for this test, which admits only pods that meet the restricted standard."""
    name = f"forebay-test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def get(namespace: str, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("-n", namespace, "get", kind, name, "-o", "json"))
    return found


def test_install_upgrade_roll_back_uninstall(helm: Helm, namespace: str) -> None:
    def run(command: str, *options: str) -> str:
        return helm.run(command, "forebay", *options, "--kube-context", CONTEXT, "-n", namespace)

    def state() -> tuple[str, str, int]:
        """Return the configuration, its checksum in the pod template, and the number of workers."""
        spec = get(namespace, "statefulset", "forebay")["spec"]
        checksum = spec["template"]["metadata"]["annotations"]["checksum/config"]
        return get(namespace, "configmap", "forebay")["data"]["forebay.toml"], checksum, spec["replicas"]

    run("install", str(CHART), "-f", str(CASES["minimal"]))
    before = state()
    pods = [get(namespace, "statefulset", "forebay"), get(namespace, "deployment", "forebay-aggregator")]
    for one in pods:
        # The cluster itself validates the pods, as it does when it creates them.
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "judged"},
            "spec": one["spec"]["template"]["spec"],
        }
        said = subprocess.run(
            [
                str(shutil.which("kubectl")),
                "--context",
                CONTEXT,
                "-n",
                namespace,
                "create",
                "--dry-run=server",
                "-f",
                "-",
            ],
            input=json.dumps(pod),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert said.returncode == 0, said.stderr

    run("upgrade", str(CHART), "-f", str(CASES["minimal"]), "--set", "config.log.level=debug,replicaCount=2")
    after = state()
    assert 'level = "debug"' in after[0] and after[2] == 2 and after[1] != before[1]
    # Change the kind of scaling: the chart no longer sets the number of workers.
    scaled = ["--set", "autoscaling.enabled=true,networkPolicy.enabled=true"]
    run("upgrade", str(CHART), "-f", str(CASES["minimal"]), *scaled)
    assert get(namespace, "hpa", "forebay")["spec"]["maxReplicas"] == 4
    assert get(namespace, "networkpolicy", "forebay")["spec"]["policyTypes"] == ["Ingress", "Egress"]

    run("rollback", "1")
    assert state() == before
    assert kubectl("-n", namespace, "get", "hpa,networkpolicy", "-o", "name") == ""

    run("uninstall")
    left = kubectl("-n", namespace, "get", "statefulset,deployment,service,configmap,pdb", "-o", "name").split()
    assert [one for one in left if one != "configmap/kube-root-ca.crt"] == []
