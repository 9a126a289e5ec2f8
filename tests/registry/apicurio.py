"""A real schema registry: Apicurio, from its Maven artefact, which is fetched once (109 MB) and needs Java 17."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from forebay.stream.embedded.process import tied_to_parent
from tests.brokers.jars import Unavailable, cache_folder, find_java
from tests.brokers.ports import free_ports
from tests.eventually import eventually_sync

APICURIO_VERSION = "3.0.9"  # later versions need Java 21
_ARTEFACT = f"io.apicurio:apicurio-registry-app:{APICURIO_VERSION}:tar.gz:all"
_RUNNER = f"apicurio-registry-app-{APICURIO_VERSION}-runner.jar"
_MAVEN_TIMEOUT_S = 300
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 10.0


def fetch_apicurio(cache: Path) -> Path:
    """Return the folder with Apicurio's jars, which Maven fetches the first time. Raises Unavailable."""
    folder = cache / f"apicurio-{APICURIO_VERSION}"
    if (folder / _RUNNER).is_file():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"no Maven to fetch Apicurio {APICURIO_VERSION}")
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            _fetch(maven, cache, folder)
    return folder


def _fetch(maven: str, cache: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as name:
        fetching = Path(name)
        command = [maven, "-B", "-q", "dependency:copy", f"-Dartifact={_ARTEFACT}", f"-DoutputDirectory={fetching}"]
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
            raise Unavailable(f"Maven did not fetch Apicurio in {_MAVEN_TIMEOUT_S} s") from error
        archives = list(fetching.glob("*.tar.gz"))
        if result.returncode != 0 or not archives:
            errors = [line for line in result.stdout.splitlines() if "ERROR" in line]
            raise Unavailable(f"Maven could not fetch Apicurio: {errors[0] if errors else 'no reason given'}")
        unpacked = fetching / "unpacked"
        with tarfile.open(archives[0]) as archive:
            archive.extractall(unpacked, filter="data")
        os.rename(unpacked, folder)  # as a whole, so that an existing folder is complete


class Apicurio:
    """An Apicurio that stores schemas in memory, on a free port of this machine. The methods block."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._java, _ = find_java(environ)
        self._jars = fetch_apicurio(cache_folder(environ))
        self._log_path = folder / "apicurio.log"
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        # The process ends with the thread that started it.
        self._spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="apicurio-spawner")

    @property
    def url(self) -> str:
        """The base URL of its implementation of Confluent's API."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = self._spawner.submit(self._spawn).result()
        eventually_sync(self._answers, "an answer of Apicurio", timeout_s=_START_TIMEOUT_S, context=self._log)

    def remove(self) -> None:
        """Stop it. Its schemas are lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(_STOP_TIMEOUT_S)
        self._spawner.shutdown()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [str(self._java), "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", _RUNNER]
        environ = dict(os.environ, QUARKUS_HTTP_HOST="127.0.0.1", QUARKUS_HTTP_PORT=str(self._port))
        with self._log_path.open("wb") as log:
            return subprocess.Popen(
                tied_to_parent(command, os.getpid()), cwd=self._jars, env=environ, stdout=log, stderr=log
            )

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self._log()
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _log(self) -> str:
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-30:])
