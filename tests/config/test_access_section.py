"""Settings of access: what is required, and an error for each wrong rule."""

from __future__ import annotations

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.authorization.sources import read_sources
from forebay.stream.config.load import load_settings

GOOD: dict[str, object] = {
    "access.enabled": True,
    "access.keys_file": "/nowhere/keys.json",
    "access.issuer": "https://id",
    "access.audience": "fb",
}


def problems(overrides: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as raised:
        load_settings(None, {}, overrides)
    return "\n".join(raised.value.problems)


def test_access_is_off_by_default() -> None:
    assert not load_settings(None, {}, {}).settings.access.is_used


def test_tokens_of_events_must_not_open_the_admin_api() -> None:
    admin = {**GOOD, "access.enabled": False, "access.admin": True}
    assert "access.admin_audience" in problems(admin)
    assert "must differ" in problems(admin | {"access.admin_audience": "fb"})
    assert load_settings(None, {}, admin | {"access.admin_audience": "fb-admin"}).settings.access.is_used


@pytest.mark.parametrize("name", ["keys_file", "issuer", "audience"])
def test_what_access_requires(name: str) -> None:
    found = problems({key: value for key, value in GOOD.items() if key != f"access.{name}"})
    assert f"access.{name}" in found and "is required by access.enabled" in found


def test_rules_are_read_as_json() -> None:
    section = load_settings(None, {}, GOOD | {"access.rules": '{"a/*": ["m", "n:3"], "b": []}'}).settings.access
    assert section.rules == {"a/*": ("m", "n:3"), "b": ()}


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ('{"a*b": ["m"]}', "must be the name of a principal"),
        ('{"a": ["m*n"]}', "must be NAME"),
        ('{"a": "m"}', "must have a list of models"),
        ("[]", "access.rules"),
        ("{", "access.rules"),
    ],
)
def test_wrong_rules_are_named(rules: str, reason: str) -> None:
    assert reason in problems(GOOD | {"access.rules": rules})


def test_wrong_roles_are_named() -> None:
    assert "principal 'ann', role 'root' (command line): must be one of look, predict, operate, report" in problems(
        GOOD | {"access.roles": '{"ann": ["look", "root"]}'}
    )


def test_wrong_algorithms_are_refused() -> None:
    assert "access.algorithms" in problems(GOOD | {"access.algorithms": "HS256"})


def test_keys_that_cannot_be_read_are_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"access\.keys_file, /nowhere/keys\.json, cannot be read: No such file"):
        read_sources(load_settings(None, {}, GOOD).settings.access)
