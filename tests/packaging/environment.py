"""A virtual environment with the wheel and exactly what its metadata declares."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.packaging.distributions import closure, declared, link, wheel_requirements
from tests.packaging.image import ROOT


def build(source: Path, target: Path, *options: str, compiled: bool = False) -> None:
    """Build as `make dist` does, with the build back end of this environment. compiled: with the compiled part."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), *options, str(source)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "FOREBAY_BUILD_NATIVE": str(int(compiled))},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout into `folder`."""
    build(ROOT, folder, "--wheel")
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Environment:
    """The environment in `folder`. Its programs run in `folder / "work"`, without the settings of this process."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, wheel: Path, extra: str = "") -> Self:
        """Create an environment as after `pip install forebay[extra]`, without this checkout."""
        venv.create(folder, with_pip=False)
        python = folder / "bin" / "python"
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (site_packages,) = (folder / "lib").glob("python3.*/site-packages")
        link(closure(declared(wheel_requirements(wheel), extra).values()), site_packages)
        (folder / "work").mkdir()
        return cls(folder)

    def run(
        self, program: str, *arguments: str, environ: Mapping[str, str] | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs and wait for it to end."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FOREBAY_", "PYTHON"))}
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            env=kept | dict(environ or {}), cwd=self.folder / "work", capture_output=True, text=True, timeout=timeout_s,
        )  # fmt: skip
