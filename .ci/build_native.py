"""Build the compiled part of Forebay (decision 42): a hook of the package build, and a program.

    .venv/bin/python .ci/build_native.py                 builds into the checkout, where Python finds the modules
    .venv/bin/python .ci/build_native.py -fsanitize=address,undefined -g

Needs Cython, a C compiler ($CC, or the one that Python was built with) and Python's headers. Each module uses the limited API,
so that one file is for all Python versions from 3.11 on. The environment variable FOREBAY_BUILD_NATIVE decides what a build of
the package does: 1 builds the modules or fails, 0 leaves them out. By default they are left out where they cannot be built.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a program
    BuildHookInterface = object

ROOT = Path(__file__).resolve().parent.parent
SOURCES = Path("stream/native")
LIMITED_API = ["-DPy_LIMITED_API=0x030B0000", "-DCYTHON_LIMITED_API=1"]
LINK = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]


class CannotBuild(Exception):
    """The compiled part cannot be built here."""


def build(target: Path, *options: str) -> list[Path]:
    """Build all modules into the folder `target`, and return their files. Raises CannotBuild."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    headers = Path(sysconfig.get_path("include"))
    if sys.platform == "win32" or shutil.which(compiler) is None:
        raise CannotBuild(f"there is no C compiler ({compiler})")
    if not (headers / "Python.h").exists():
        raise CannotBuild(f"Python's headers are not in {headers}")
    # The reader writes NaN into floats as integers.
    flags = [
        "-O3",
        "-fPIC",
        "-fvisibility=hidden",
        "-fno-strict-aliasing",
        *LIMITED_API,
        f"-I{headers}",
        *LINK,
        *options,
    ]
    built = []
    with tempfile.TemporaryDirectory(prefix="forebay-native-") as folder:
        for source in sorted((ROOT / SOURCES).glob("*.pyx")):
            # Relative paths only, so that the file does not depend on the folder of the build.
            c_file, module = f"{source.stem}.c", target / f"{source.stem}.abi3.so"
            for file in (source, *(ROOT / SOURCES).glob("*.pxi")):
                shutil.copy(file, folder)
            _run([sys.executable, "-m", "cython", "-3", source.name, "-o", c_file], folder)
            _run([compiler, c_file, "-o", f"{source.stem}.so", *flags], folder)
            # The new file replaces one that may be in use.
            shutil.copy(Path(folder, f"{source.stem}.so"), f"{module}.new")
            os.replace(f"{module}.new", module)
            built.append(module)
    return built


def _run(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise CannotBuild(f"{shlex.join(command)} failed:\n{done.stdout}")


class NativeHook(BuildHookInterface):
    """Adds the compiled modules to a wheel, or to the checkout of an editable installation."""

    def initialize(self, version: str, build_data: dict) -> None:
        mode = os.environ.get("FOREBAY_BUILD_NATIVE", "")
        if mode == "0" or self.target_name != "wheel":
            return
        is_editable = version == "editable"
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="forebay-native-")
            modules = build(ROOT / SOURCES if is_editable else Path(self._folder.name))
        except CannotBuild as error:
            if mode == "1":
                raise
            self.app.display_warning(f"built without the compiled part, which only makes workers faster: {error}")
            return
        if is_editable:
            return
        for module in modules:
            build_data["force_include"][str(module)] = f"forebay/{SOURCES}/{module.name}"
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{platform}"


if __name__ == "__main__":
    try:
        for path in build(ROOT / SOURCES, *sys.argv[1:]):
            print(path.relative_to(ROOT))
    except CannotBuild as error:
        sys.exit(str(error))
