"""docs/operations.md: every alert has a section, and access lists, settings and commands match the code."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from forebay.stream.cli.group import COMMANDS
from forebay.stream.config.sections import Settings, section_types
from forebay.stream.kafka.cluster.acls import Role, required_acls
from tests.packaging.image import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
RULES = yaml.safe_load((ROOT / "helm" / "files" / "alerts" / "forebay.rules.yaml").read_text())
ALERTS = [rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]


def section(title: str) -> str:
    """Return the text between a heading and the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/operations.md has no section {title}"
    return found[1].strip()


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_its_section(alert: str) -> None:
    text = section(alert)
    assert text.startswith("*") and len(text.split()) > 20


def test_no_section_is_about_a_removed_alert() -> None:
    assert set(re.findall(r"^### (Forebay\w+)$", PAGE, re.MULTILINE)) == set(ALERTS)


def test_the_access_control_lists_are_those_of_the_code() -> None:
    rule = {"name": "any", "count": 1, "window_s": 60}
    settings = Settings.model_validate_json(json.dumps({"aggregate": {"alerts": [rule]}}))
    told = {
        (role, operation, resource, name)
        for role, operation, resource, names in re.findall(
            r"^\| ([a-z-]+), `forebay [a-z ]+` \| (\w+) \| (\S+) (.+) \|$",
            section("Access control lists"),
            re.MULTILINE,
        )
        for name in re.findall(r"`([^`]+)`", names)
    }
    assert told == {
        (role.value, acl.operation, acl.resource, acl.name + "*" * acl.prefixed)
        for role in Role
        for acl in required_acls(role, settings)
    }


def test_settings_and_commands_that_it_names_exist() -> None:
    sections = section_types()
    for name, key in re.findall(r"`(?:FOREBAY_)?([a-z]+)\.([a-z_]+)(?:`| = )", PAGE):
        if name in sections:
            assert key in sections[name].model_fields, f"{name}.{key}"
    for command in re.findall(r"(?:`|\$ |\n)forebay ([a-z]+)", PAGE):
        assert command in COMMANDS, command


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
