"""The settings that pages show are settings of Forebay, with values that it accepts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from forebay.stream.config.sections import Settings
from tests.docs.blocks import Block, blocks_of
from tests.packaging.image import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def settings_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that have only sections of settings."""
    blocks = (block for block in blocks_of(page.read_text(encoding="utf-8")) if block.language == "toml")
    return [block for block in blocks if tomllib.loads(block.text).keys() <= Settings.model_fields.keys()]


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page in PAGES for block in settings_blocks(page)],
    ids=lambda value: str(value.line) if isinstance(value, Block) else value.stem,
)
def test_settings_of_a_page_are_valid(page: Path, block: Block) -> None:
    whole = re.sub(r"sha256:(\w+)…", lambda match: f"sha256:{match[1]:0<64}", block.text)  # pages shorten digests
    settings = tomllib.loads(whole)
    settings.pop("models", None)  # their defaults come from other sections
    Settings.model_validate(settings)
