"""docs/security.md: the settings, chart values and commands that it names exist, and its links and anchors are valid."""

from __future__ import annotations

import re

from forebay.stream.cli.group import COMMANDS
from forebay.stream.config.sections import section_types
from tests.chart.generate import CHART, documented
from tests.packaging.image import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "security.md").read_text()


def test_settings_and_chart_values_that_it_names_exist() -> None:
    settings = {f"{name}.{key}" for name, section in section_types().items() for key in section.model_fields}
    values = {value.path for value in documented(CHART / "values.yaml")}
    sections = {path.partition(".")[0] for path in settings | values}
    named = {
        name for name in re.findall(r"`([a-zA-Z]+(?:\.[a-zA-Z_]+)+)(?:`|=)", PAGE) if name.split(".")[0] in sections
    }
    # A setting, a value, the folder of some values, or a key below one that is a map.
    known = settings | values | {path.rpartition(".")[0] for path in values} | {"resources.limits.cpu"}
    assert len(named) > 12 and named <= known, named - known


def test_commands_that_it_names_exist() -> None:
    assert set(re.findall(r"(?:`|\$ )forebay ([a-z]+)", PAGE)) <= set(COMMANDS)


def test_its_links_lead_somewhere() -> None:
    for target, anchor in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", PAGE):
        if target.startswith("https://"):
            continue
        text = (DOCS / target).read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, f"{target}#{anchor}"
