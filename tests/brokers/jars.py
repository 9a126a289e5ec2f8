"""The jars of Apache Kafka, fetched once by Maven into a cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

KAFKA_VERSION = "4.1.1"
_LOG4J_VERSION = "2.24.3"  # the version that this Kafka ships with; without its bridge to slf4j the broker logs nothing
_MAVEN_TIMEOUT_S = 300

_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>forebay</groupId>
  <artifactId>test-broker</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{_LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class Unavailable(Exception):
    """A source of a real Kafka is not available on this machine. The message gives the reason."""


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder for fetched brokers: `FOREBAY_CACHE`, else the user's cache folder."""
    if named := environ.get("FOREBAY_CACHE"):
        return Path(named)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "forebay"


def find_java(environ: Mapping[str, str]) -> tuple[Path, str]:
    """Return the `java` program and its version. Raises Unavailable if no version 17 or later is found."""
    home = environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not Path(java).is_file():
        raise Unavailable("no Java")
    result = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30)
    words = result.stderr.split('"')
    version = words[1] if len(words) > 1 else ""
    major = version.split(".")[0]
    if result.returncode != 0 or not major.isdigit():
        raise Unavailable("no Java that runs")
    if int(major) < 17:
        raise Unavailable(f"Java {version} is too old for Kafka {KAFKA_VERSION}, which needs 17")
    return Path(java), version


def fetch_jars(cache: Path) -> Path:
    """Return the folder with Kafka's jars, about 100 MB, which Maven fetches the first time. Raises Unavailable.

    If several processes need them, one fetches and the others wait.
    """
    folder = cache / f"kafka-{KAFKA_VERSION}-log4j-{_LOG4J_VERSION}"
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"no Maven to fetch Kafka {KAFKA_VERSION}")
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the cache folder {cache} cannot be created: {error.strerror}") from error
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
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_MAVEN_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"Maven did not fetch Kafka {KAFKA_VERSION} in {_MAVEN_TIMEOUT_S} s") from error
        if result.returncode != 0:
            errors = [line for line in result.stdout.splitlines() if "ERROR" in line]
            reason = errors[0] if errors else "no reason given"
            raise Unavailable(f"Maven could not fetch Kafka {KAFKA_VERSION}: {reason}")
        # Renamed as a whole, so that an existing folder is complete.
        os.rename(fetching / "jars", folder)
