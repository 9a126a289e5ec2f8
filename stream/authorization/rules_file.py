"""Rules and roles of a file, which may change while a worker runs. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import NamedTuple

from forebay.schemas.errors import ConfigError
from forebay.stream.config.access_section import AccessSection, read_roles, read_rules

ModelsOf = Mapping[str, tuple[str, ...]]


class RuleTables(NamedTuple):
    """Models and roles by pattern of principals."""

    rules: ModelsOf
    roles: ModelsOf


def rule_tables(section: AccessSection, text: bytes | None) -> RuleTables:
    """Return the tables of a section and of its file together. text: None without a file. Raises ConfigError."""
    if text is None:
        return RuleTables(section.rules, section.roles)
    try:
        document = tomllib.loads(text.decode())
        if unknown := sorted(set(document) - {"rules", "roles"}):
            raise ValueError(f"there is {unknown[0]!r} besides the tables rules and roles")
        rules, roles = read_rules(document.get("rules", {})), read_roles(document.get("roles", {}))
        return RuleTables(_united(section.rules, rules, "rules"), _united(section.roles, roles, "roles"))
    except ValueError as error:  # also of UTF-8 and TOML
        raise ConfigError(
            f"access.rules_file, {section.rules_file}: {error}",
            kind="access_rules",
            remedy="write the tables [rules] and [roles] as in the section access of the configuration",
        ) from None


def _united(inline: ModelsOf, of_file: ModelsOf, name: str) -> ModelsOf:
    if both := sorted(set(inline) & set(of_file)):
        raise ValueError(f"the principal {both[0]!r} is in access.{name}, too")
    return {**inline, **of_file}
