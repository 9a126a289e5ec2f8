"""The pages in docs/tutorials: a reader follows every block in order, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers.ports import free_ports
from tests.docs.blocks import blocks_of
from tests.docs.shell import Shell
from tests.docs.test_readme import Reader, environment
from tests.source_files import ROOT

PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.embedded
@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_tutorial_works_in_order(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "forebay"
    folder.mkdir()
    broker_port, admin_port = free_ports(2)
    with Shell(folder, environment(folder, broker_port, admin_port)) as shell:
        instead = {"--kafka-port 9092": f"--kafka-port {broker_port}", "/tmp/forebay": str(tmp_path / "broker")}
        reader = Reader(shell, folder, instead)
        for block in blocks_of(page.read_text(encoding="utf-8")):
            reader.follow(block)
