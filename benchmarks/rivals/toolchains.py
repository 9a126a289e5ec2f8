"""Build the contestants in other languages once, into the cache folder that also has the brokers of the tests.

A build is named by the hash of its sources. Changed sources are built again; other builds stay until the folder is removed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from filelock import FileLock

from benchmarks.contestants.catalogue import Contestant, Runtime
from tests.brokers.jars import Unavailable, cache_folder, find_java

RIVALS: Final = Path(__file__).resolve().parent
_BUILD_TIMEOUT_S: Final = 1200


def set_up(
    contestants: Iterable[Contestant], environ: Mapping[str, str]
) -> tuple[dict[Runtime, Path], dict[Runtime, str]]:
    """Build what the contestants need. Return the folder of each runtime, and why the other runtimes are missing."""
    folders: dict[Runtime, Path] = {}
    missing: dict[Runtime, str] = {}
    for runtime in dict.fromkeys(contestant.runtime for contestant in contestants):
        if runtime == "python":
            continue
        try:
            folders[runtime] = BUILDERS[runtime](environ)
        except Unavailable as error:
            missing[runtime] = str(error)
    return folders, missing


def build_java(environ: Mapping[str, str]) -> Path:
    """Return the folder with the Java contestants and their libraries. Raises Unavailable."""
    find_java(environ)
    project = RIVALS / "java"

    def build(sources: Path, target: Path) -> None:
        _run([_program("mvn", "Maven"), "-B", "-q", "-f", str(sources / "pom.xml"), "package"], sources)
        shutil.copytree(sources / "target" / "lib", target / "lib")
        shutil.copy(sources / "target" / "rivals.jar", target)

    return build_once(project, name="rivals-java", patterns=("pom.xml", "src/**/*.java"), environ=environ, build=build)


def build_rust(environ: Mapping[str, str]) -> Path:
    """Return the folder with the Rust contestant, compiled for this machine's processor. Raises Unavailable."""

    def build(sources: Path, target: Path) -> None:
        cargo = _program("cargo", "Rust")
        _program("make", "make, which builds librdkafka,")
        _run([cargo, "build", "--release", "--locked"], sources, {"RUSTFLAGS": "-C target-cpu=native"})
        shutil.copy(sources / "target" / "release" / "forebay-rival", target)

    patterns = ("Cargo.toml", "Cargo.lock", "src/**/*.rs")
    return build_once(RIVALS / "rust", name="rivals-rust", patterns=patterns, environ=environ, build=build)


def build_quix(environ: Mapping[str, str]) -> Path:
    """Return the virtual environment with Quix Streams, whose requirements differ from Forebay's. Raises Unavailable."""

    def build(sources: Path, target: Path) -> None:
        _run([sys.executable, "-m", "venv", str(target)], sources)
        pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "-r", "requirements.txt"], sources)

    patterns = ("requirements.txt",)
    return build_once(RIVALS / "quix", name="rivals-quix", patterns=patterns, environ=environ, build=build)


BUILDERS: Final[Mapping[Runtime, Callable[[Mapping[str, str]], Path]]] = {
    "java": build_java,
    "rust": build_rust,
    "quix": build_quix,
}


def build_once(
    project: Path,
    *,
    name: str,
    patterns: Sequence[str],
    environ: Mapping[str, str],
    build: Callable[[Path, Path], None],
) -> Path:
    """Return the folder with the built project. Build it if no process has built these sources before. Raises Unavailable.

    patterns: the sources in the project, as globs.
    build: builds a copy of the sources, its first argument, into its second argument.
    """
    sources = sorted(path for pattern in patterns for path in project.glob(pattern) if path.is_file())
    cache = cache_folder(environ)
    folder = cache / f"{name}-{fingerprint(project, sources)}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the cache folder {cache} cannot be created: {error.strerror}") from error
    with FileLock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as scratch:
                copy, target = Path(scratch) / "sources", Path(scratch) / "target"
                target.mkdir()
                for path in sources:
                    place = copy / path.relative_to(project)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, place)
                build(copy, target)
                # Renamed as a whole, so that an existing folder is complete.
                os.rename(target, folder)
    return folder


def fingerprint(project: Path, sources: Sequence[Path]) -> str:
    """Return a hash of the names and contents of the sources."""
    digest = hashlib.sha256()
    for path in sources:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(project).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _program(name: str, product: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{product} is not installed: no program {name} on the path")
    return found


def _run(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> None:
    """Run a step of a build. Raises Unavailable with the last lines of its output if it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{Path(command[0]).name} did not finish within {_BUILD_TIMEOUT_S} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise Unavailable(f"{Path(command[0]).name} failed: " + " / ".join(lines[-5:]))
