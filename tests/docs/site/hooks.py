"""Hooks of MkDocs: pages from outside docs/ and from the code, and links to them.

On GitHub the pages in docs/ link to files beside docs/, such as `../helm/README.md`. On the site these are pages or downloads.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tests.docs.site import reference

ROOT: Final = Path(__file__).resolve().parents[3]
PAGES: Final[Mapping[str, str]] = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "helm/README.md": "helm.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples": "examples.md",
}
"""Files and folders of the repository that are pages of the site."""
FOLDERS: Final[Mapping[str, str]] = {"docs/decisions": "decisions/README.md", "helm/files": "helm.md"}
"""The pages that stand for folders to which pages link."""
DOWNLOADS: Final = "files/"
"""Where the other files are that pages link to."""
_LINK: Final = re.compile(r"(\]\(|href=\"|src=\")([^)\s\"#]+)((?:#[^)\s\"]*)?[)\"])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/, and the files that pages link to."""
    for source, target in PAGES.items():
        if (ROOT / source).is_file():
            files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    generated = {
        "examples.md": reference.examples_page(ROOT / "examples"),
        "reference/settings.md": reference.settings_page(),
        "reference/commands.md": reference.commands_page(),
        "reference/failures.md": reference.failures_page(),
        "reference/topics.md": reference.topics_page(),
        "reference/python.md": reference.python_page(),
    }
    for target, content in generated.items():
        files.append(File.generated(config, target, content=content))
    for path in sorted(_downloads(files)):
        files.append(File.generated(config, f"{DOWNLOADS}{path}", content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the pages of the site."""
    here = _folder_in_repository(page.file.src_uri)
    from_page = posixpath.dirname(page.file.src_uri)

    def replaced(match: re.Match[str]) -> str:
        target = _on_site(here, match[2])
        return match[0] if target is None else f"{match[1]}{posixpath.relpath(target, from_page or '.')}{match[3]}"

    return _outside_code(markdown, lambda text: _LINK.sub(replaced, text))


def _outside_code(markdown: str, change: Any) -> str:
    """Return the text with everything but its code blocks changed."""
    parts: list[str] = []
    fence = ""
    text: list[str] = []
    for line in markdown.splitlines(keepends=True):
        opened = re.match(r"\s*(`{3,})", line)
        if not fence and opened:
            parts.append(change("".join(text)))
            text, fence = [], opened[1]
            parts.append(line)
        elif fence:
            parts.append(line)
            if line.strip() == fence:
                fence = ""
        else:
            text.append(line)
    return "".join([*parts, change("".join(text))])


def _folder_in_repository(src_uri: str) -> str:
    """Return the folder of the file that is this page."""
    source = next((source for source, target in PAGES.items() if target == src_uri), None)
    return posixpath.dirname(f"docs/{src_uri}" if source is None else source)


def _on_site(folder: str, link: str) -> str | None:
    """Return the place of a link on the site; None for links to other sites."""
    if ":" in link or link.startswith(("/", "<")):
        return None
    path = posixpath.normpath(posixpath.join(folder, link))
    page = PAGES.get(path) or FOLDERS.get(path)
    if page is not None:
        return page
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_file():
        return f"{DOWNLOADS}{path}"
    return None


def _downloads(files: Files) -> set[str]:
    """Return the files outside docs/ that pages link to."""
    found: set[str] = set()
    for file in files:
        if file.is_documentation_page():
            for match in _LINK.finditer(file.content_string):
                target = _on_site(_folder_in_repository(file.src_uri), match[2])
                if target is not None and target.startswith(DOWNLOADS):
                    found.add(target.removeprefix(DOWNLOADS))
    return found
