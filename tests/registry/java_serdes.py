"""Apicurio's Java serializers, from their Maven artefacts, which are fetched once (63 MB) and need a JDK of version 17."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.brokers.jars import Unavailable, cache_folder, find_java

SERDES_VERSION = "3.1.7"
_PROGRAM = Path(__file__).parent / "java" / "Produce.java"
_ARTEFACTS = [f"apicurio-registry-{name}-serde-kafka" for name in ("avro", "jsonschema", "protobuf")]
_MAVEN_TIMEOUT_S = 300
_RUN_TIMEOUT_S = 120
_DEPENDENCY = f"""
    <dependency><groupId>io.apicurio</groupId><artifactId>{{}}</artifactId><version>{SERDES_VERSION}</version></dependency>"""
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>forebay</groupId>
  <artifactId>test-serdes</artifactId>
  <version>1</version>
  <dependencies>{"".join(_DEPENDENCY.format(name) for name in _ARTEFACTS)}
  </dependencies>
</project>
"""


def fetch_serdes(cache: Path) -> Path:
    """Return the folder with the serializers' jars, which Maven fetches the first time. Raises Unavailable."""
    folder = cache / f"apicurio-serdes-{SERDES_VERSION}"
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"no Maven to fetch Apicurio's serializers {SERDES_VERSION}")
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            _fetch(maven, cache, folder)
    return folder


def _fetch(maven: str, cache: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as name:
        fetching = Path(name)
        (fetching / "pom.xml").write_text(_POM)
        command = [maven, "-B", "-q", "-f", str(fetching / "pom.xml"), "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={fetching / 'jars'}"]
        try:
            result = _run(command, timeout_s=_MAVEN_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"Maven did not fetch Apicurio's serializers in {_MAVEN_TIMEOUT_S} s") from error
        if result.returncode != 0:
            errors = [line for line in result.stdout.splitlines() if "ERROR" in line]
            reason = errors[0] if errors else "no reason given"
            raise Unavailable(f"Maven could not fetch Apicurio's serializers: {reason}")
        os.rename(fetching / "jars", folder)  # as a whole, so that an existing folder is complete


class ApicurioSerdes:
    """Runs `java/Produce.java`, which publishes events with the serializers. Raises Unavailable if that is not possible."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._java, version = find_java(environ)
        if "jdk.compiler" not in _run([str(self._java), "--list-modules"], timeout_s=30).stdout:
            raise Unavailable(f"Java {version} has no compiler: a JDK is needed")
        self._jars = fetch_serdes(cache_folder(environ))

    def publish(self, bootstrap: str, runs: Sequence[Mapping[str, Any]], folder: Path) -> int:
        """Publish events and return the number of records. Blocks.

        runs: the topic, the settings of the serializers and the events of each run; see the program.
        folder: for resources that the settings name.
        """
        command = [str(self._java), "-Xmx256m", "-cp", f"{self._jars}/*{os.pathsep}{folder}", str(_PROGRAM)]
        document = json.dumps({"bootstrap": bootstrap, "runs": [dict(run) for run in runs]})
        result = _run(command, timeout_s=_RUN_TIMEOUT_S, text=document)
        assert result.returncode == 0, result.stderr
        return int(result.stdout)


def _run(command: Sequence[str], *, timeout_s: float, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=timeout_s)
