"""Load one mutated artefact as a worker does, and run it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.ma  # NumPy imports it late, which would look like code that an artefact brings

from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.trust import TRUST_NOTHING, TrustPolicy
from forebay.models.backends import catalogue
from forebay.models.backends.protocol import Runner, RunOptions
from forebay.models.serving import load_gate
from forebay.schemas.errors import ModelError

MAX_MESSAGE = 3000
# What an artefact must never cause, besides reading its own files.
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "pickle.find_class",
             "os.remove", "os.rename", "os.mkdir", "os.chmod", "os.link", "os.symlink", "shutil.rmtree", "exec"}  # fmt: skip


class FuzzError(Exception):
    """A mutated artefact caused something that must not happen."""


_real_path = lru_cache(maxsize=10_000)(os.path.realpath)  # no case makes or changes links


class Watch:
    """Records forbidden events of the interpreter while it is on: files opened outside a folder, processes, connections."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._seen: list[str] = []
        self._forbidden = FORBIDDEN
        sys.addaudithook(self._hook)

    @contextmanager
    def on(self, folder: Path, *, runs_code: bool = False) -> Iterator[None]:
        """Watch until the block ends. Raises FuzzError if something forbidden happened in it.

        runs_code: whether code in the folder may run.
        """
        self._folder, self._seen = str(folder), []
        self._forbidden = FORBIDDEN - {"exec"} if runs_code else FORBIDDEN
        try:
            yield
        finally:
            self._folder = None
        if self._seen:
            raise FuzzError("; ".join(self._seen))

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None:
            return
        if event in self._forbidden:
            self._seen.append(f"{event} {arguments!r}"[:200])
        elif event == "open" and isinstance(arguments[0], str | os.PathLike):
            path = _real_path(os.fspath(arguments[0]))
            writes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes or not path.startswith(self._folder):
                self._seen.append(f"open {path}")


class Counter:
    """Counts the calls of a backend's `build`: how many artefacts reach the parser of the backend."""

    def __init__(self) -> None:
        self.built = 0
        self._find: Callable[[str], Any] = catalogue.find_backend
        load_gate.find_backend = self._counting  # type: ignore[attr-defined]

    def _counting(self, name: str) -> Any:
        backend, counter = self._find(name), self

        class Counting:
            def check(self, *arguments: Any) -> None:
                backend.check(*arguments)

            def build(self, artefact: Artefact, options: RunOptions) -> Runner:
                counter.built += 1
                runner: Runner = backend.build(artefact, options)
                return runner

        return Counting()


def outcome(version: Path, watch: Watch, *, trusted: bool) -> str:
    """Load and run a version; return "served" or the kind of its refusal. Raises FuzzError for what must not happen."""
    repository = version.parents[1]
    trust = TrustPolicy(frozenset({str(repository)})) if trusted else TRUST_NOTHING
    with watch.on(repository, runs_code=trusted):
        try:
            served = load_gate.load_model(
                repository, version.parent.name, int(version.name), options=RunOptions(), trust=trust
            )
            rows = np.zeros((2, served.signature.row_width), dtype=np.float32)
            scores = served.forward(served.prepare(rows))
        except ModelError as error:
            if not error.remedy or len(error.message) > MAX_MESSAGE:
                raise FuzzError(
                    f"a message without a remedy, or too long: {error.kind}: {error.message[:500]}"
                ) from error
            return error.kind
    if scores.values_BO.shape != (2, served.signature.output_dim):
        raise FuzzError(f"the scores have the shape {scores.values_BO.shape}")
    return "served" if np.isfinite(scores.values_BO).all() else "not finite"
