"""The Dockerfile and docker-compose.yml as tests read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the instructions of the Dockerfile as (NAME, arguments), with lines joined and without comments."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name, rest.strip()


def final_stage() -> dict[str, list[str]]:
    """Return the instructions of the last stage, by name."""
    stage: dict[str, list[str]] = {}
    for name, rest in instructions():
        if name == "FROM":
            stage = {}
        stage.setdefault(name, []).append(rest)
    return stage


def image_environment() -> dict[str, str]:
    """Return the environment variables that the image sets with ENV."""
    return dict(re.findall(r"([A-Z_0-9]+)=(\S+)", " ".join(final_stage()["ENV"])))


def health_check() -> list[str]:
    """Return the command of HEALTHCHECK."""
    (line,) = final_stage()["HEALTHCHECK"]
    command: list[str] = json.loads(line.partition("CMD ")[2])
    return command


def compose() -> dict[str, Any]:
    """Return docker-compose.yml with its variables at their defaults."""
    text = re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", COMPOSE.read_text())
    assert "${" not in text
    document: dict[str, Any] = yaml.safe_load(text.replace("$$", "$"))
    return document


def services(*, profile: str | None = None) -> dict[str, Any]:
    """Return the services that run: those without a profile, and those with this one."""
    return {
        name: service
        for name, service in compose()["services"].items()
        if set(service.get("profiles", [])) <= {profile}
    }


def environment_of(service: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a Forebay service: the image's settings and its own."""
    own = {name: value for name, value in image_environment().items() if name.startswith("FOREBAY_")}
    return own | dict(service.get("environment", {}))
