"""The chart, rendered by Helm and parsed into objects."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

HERE: Final = Path(__file__).resolve().parent
CHART: Final = HERE.parent.parent / "helm"
CASES: Final = {path.stem: path for path in sorted((HERE / "cases").glob("*.yaml"))}
RELEASE: Final = "forebay"
NAMESPACE: Final = "streams"
TIMEOUT_S: Final = 60

Object = dict[str, Any]


class Refused(Exception):
    """Helm refused to render; the message is Helm's."""


@dataclass(frozen=True, slots=True)
class Helm:
    """The program, with a cache of what it has rendered."""

    program: Path
    rendered: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> str:
        """Run Helm and return its output. Raises Refused."""
        said = subprocess.run(
            [str(self.program), *arguments], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
        if said.returncode != 0:
            raise Refused(said.stderr + said.stdout)
        return said.stdout

    def template(self, case: str = "minimal", *sets: str, values: Mapping[str, object] | None = None) -> str:
        """Return the chart's objects as YAML, for a case, settings as for --set, and values that override both."""
        given = [*sets, *(f"json:{key}={json.dumps(value)}" for key, value in (values or {}).items())]
        key = "\n".join([case, *given])
        if key not in self.rendered:
            options = [
                part
                for one in given
                for part in (("--set-json", one[5:]) if one.startswith("json:") else ("--set", one))
            ]
            self.rendered[key] = self.run(
                "template", RELEASE, str(CHART), "-n", NAMESPACE, "-f", str(CASES[case]), *options
            )
        return self.rendered[key]

    def objects(self, case: str = "minimal", *sets: str, values: Mapping[str, object] | None = None) -> Objects:
        return Objects([one for one in yaml.safe_load_all(self.template(case, *sets, values=values)) if one])


class Objects(list[Object]):
    """The objects of one release."""

    def of(self, kind: str, name: str = RELEASE) -> Object:
        (found,) = [one for one in self if one["kind"] == kind and one["metadata"]["name"] == name]
        return found

    def kinds(self) -> list[str]:
        return sorted(f"{one['kind']}/{one['metadata']['name']}" for one in self)

    def worker(self) -> Object:
        (found,) = [one for one in self if one["kind"] in ("StatefulSet", "Deployment") and _is(one, "worker")]
        return found

    def pod_specs(self) -> Iterator[tuple[str, Object]]:
        """Yield the specification of every pod of the release, with its name."""
        for one in self:
            if one["kind"] == "Pod":
                yield one["metadata"]["name"], one["spec"]
            elif one["kind"] in ("StatefulSet", "Deployment"):
                yield one["metadata"]["name"], one["spec"]["template"]["spec"]

    def toml(self) -> str:
        (found,) = [one for one in self if one["kind"] == "ConfigMap" and "forebay.toml" in one["data"]]
        return str(found["data"]["forebay.toml"])


def _is(one: Object, component: str) -> bool:
    return bool(one["metadata"]["labels"]["app.kubernetes.io/component"] == component)


def environment(container: Object, objects: Objects, pod: str) -> dict[str, str]:
    """Return a container's environment as the kubelet sets it. A Secret from outside the chart has the value NAME/KEY."""
    made: dict[str, str] = {}
    for entry in container["env"]:
        if "value" in entry:
            value = str(entry["value"])
            for name, known in made.items():
                value = value.replace(f"$({name})", known)
        elif field_path := entry["valueFrom"].get("fieldRef", {}).get("fieldPath"):
            value = {"metadata.name": pod, "metadata.namespace": NAMESPACE}[field_path]
        else:
            reference = entry["valueFrom"]["secretKeyRef"]
            own = [one for one in objects if one["kind"] == "Secret" and one["metadata"]["name"] == reference["name"]]
            value = f"{reference['name']}/{reference['key']}"
            if own:
                value = base64.b64decode(own[0]["data"][reference["key"]]).decode()
        made[entry["name"]] = value
    return made


def containers(spec: Object) -> Sequence[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]
