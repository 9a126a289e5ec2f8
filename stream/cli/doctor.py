"""`forebay doctor`: print what a bug report needs."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from forebay.schemas.errors import ForebayError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, timeout_option
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forebay.stream.preflight import Check


@click.command(
    name="doctor",
    epilog=examples(
        ("forebay doctor", "with ./forebay.toml or the defaults"),
        ("forebay doctor -c worker.toml > report.md", "to attach to a bug report"),
        ("forebay doctor --json", "for scripts"),
    ),
)
@config_options
@bootstrap_option
@timeout_option("Time limit for the cluster in each step.", default=5.0)
@json_option
def command(source: ConfigSource, bootstrap_server: str | None, timeout_s: float, as_json: bool) -> None:
    """Print versions, machine, changed settings, models and the findings of `forebay check`, as Markdown.

    Secrets are hidden. Names of hosts, topics, models and files are not: read the report before you publish it.
    """
    from forebay.stream.cli.check import check_all
    from forebay.stream.cli.environment import describe_environment

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the checks say why it cannot connect
    source = source.with_broker(bootstrap_server)
    checks: list[Check] = []
    environment = describe_environment()
    settings, models = _configuration(source)
    check_all(source, timeout_s, checks.append, sample=None)
    if as_json:
        echo_json(
            {
                "environment": environment,
                "settings": settings,
                "models": models,
                "checks": [asdict(check) for check in checks],
            }
        )
        return
    echo("\n".join([*_environment_lines(environment), *_settings_lines(settings), *_model_lines(models)]))
    echo("\n".join(_check_lines(checks)))


def _configuration(source: ConfigSource) -> tuple[str | None, list[dict[str, object]] | str]:
    """Return the changed settings as TOML, None if they are wrong, and the models, or why they cannot be read."""
    from forebay.stream.cli.models_reading import list_all_models
    from forebay.stream.config.render import render_toml

    try:
        loaded = source.load()
    except ForebayError:
        return None, "the configuration has errors"
    settings = render_toml(loaded, only_changed=True)
    repositories = dict.fromkeys(served.model.repository for served in loaded.settings.models_to_serve())
    models: list[dict[str, object]] = []
    try:
        for repository in repositories:
            models += list_all_models(repository)
    except ForebayError as error:
        return settings, error.message
    return settings, models


def _environment_lines(environment: Mapping[str, object]) -> list[str]:
    packages = environment["packages"]
    assert isinstance(packages, dict)
    limits = environment["limits"]
    assert isinstance(limits, dict)
    limited = "".join(f", {name} {value}" for name, value in limits.items())
    lines = [
        f"# Forebay {environment['forebay']}",
        "",
        f"- Python {environment['python']}, {environment['system']}",
        f"- {environment['processor']}, {environment['cores']} cores, {environment['memory_mib']} MiB{limited}",
        f"- {environment['compiled']}",
        "",
        "| extra | packages |",
        "|---|---|",
    ]
    for extra, versions in packages.items():
        listed = ", ".join(f"{name} {number or '(missing)'}" for name, number in versions.items())
        lines.append(f"| {extra or '(base)'} | {listed} |")
    return lines


def _settings_lines(settings: str | None) -> list[str]:
    text = "the configuration has errors; see the checks" if settings is None else settings.strip()
    return ["", "## Changed settings", "", "```toml", text or "# none", "```"]


def _model_lines(models: Sequence[Mapping[str, object]] | str) -> list[str]:
    lines = ["", "## Models", ""]
    if isinstance(models, str):
        return [*lines, models]
    if not models:
        return [*lines, "none"]
    names = list(models[0])
    lines += [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return lines + [f"| {' | '.join(str(model.get(name)) for name in names)} |" for model in models]


def _check_lines(checks: Sequence[Check]) -> list[str]:
    lines = ["", "## Checks", ""]
    for check in checks:
        lines.append(f"- {check.status.value}: {check.name}: {check.detail}")
        lines += [f"  - {problem}" for problem in check.problems]
        if check.remedy:
            lines.append(f"  - hint: {check.remedy}")
    return lines
