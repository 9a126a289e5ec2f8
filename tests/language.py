"""Find phrases to avoid in docstrings, messages, comments and documentation.

python -m tests.language                       list all hits, by file and line
python -m tests.language forebay/stream/kafka  list the hits in a folder or file
python -m tests.language --summary             count the hits in each folder
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.source_files import ROOT, children, code_folders, parse

TEXT_SUFFIXES = {".gotmpl", ".html", ".js", ".md", ".toml", ".tpl", ".txt", ".yaml", ".yml"}
TEXT_NAMES = {"Dockerfile", "Makefile"}
NOT_PROSE = {"constraints.txt", "icon.svg"}
HOLDING_THE_PHRASES = {ROOT / "tests/language.py", ROOT / "tests/test_language.py"}


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase to avoid.

    pattern: a regular expression. A match that includes the group `fine` is not a hit.
    instead: what to write instead.
    example: a text that contains the phrase.
    """

    pattern: str
    instead: str
    example: str


PHRASES = (
    Phrase(
        r"(?P<fine>\bthere (is|are|was|were) none)|\b(is|are|was|were|be) none\b",
        "is not one; has no X",
        "a record that is none",
    ),
    Phrase(
        r"(?P<fine>\bthere (is|are) no)|\b(is|are) no (?!longer|more|less|fewer|different|such|one)(?!\w+er\b)\w+",
        "is not a X",
        "bytes that are no JSON",
    ),
    Phrase(r"\b(told|tells?|telling)\b", "reports, returns, logs, shows, says", "the worker is told"),
    Phrase(r"\banew\b", "again", "join anew"),
    Phrase(r"\b(whoever|nobody|somebody)\b", "name the user, client or component; nothing", "whoever asks"),
    Phrase(r"\b(made|makes?|making) again\b", "rebuilt, created again", "windows are made again"),
    Phrase(r"\b(stands?|stood|standing) still\b", "stalls, is stalled, stops", "reading stands still"),
    Phrase(r"\b(put|puts|putting) out\b", "removed, evicted", "the member was put out"),
    Phrase(r"\b(let|lets|letting) go\b", "released, abandoned, dropped", "connections are let go of"),
    Phrase(r"\b(befall|befalls|befallen|befell)\b", "happen to", "what can befall a broker"),
    Phrase(r"\b(mend|mends|mended|mending)\b", "fix, repair, recover", "until it mends"),
    Phrase(r"\b(go|goes|going|went|gone) before\b", "overrides, takes precedence, precedes", "the later goes before"),
    Phrase(r"\b(go|goes|going|went|gone) on\b(?! to\b)", "continues, resumes", "reading goes on"),
    Phrase(r"\bso (many|much|few|often)\b", "at most N, that many, this often", "drain so many"),
    Phrase(r"\bso long\b(?! as\b)", "for that long, at most N seconds", "wait so long"),
    Phrase(r"\bof (which|whom)\b", "start a new sentence: its, their, whose", "topics of which one is gone"),
    Phrase(r"\b(give|gives|given|giving|gave) out\b", "emit, publish, return", "what is given out"),
    Phrase(r"\b(hand|hands|handed|handing) out\b", "return, yield", "records are handed out"),
    Phrase(
        r"\b(is|are|was|were) there(?! (a|an|any|no|another|more|something|enough)\b)\b",
        "exists, is present, is available",
        "once the topic is there",
    ),
    Phrase(r"\b(is|are|was|were|be|been|stays?|still) away\b", "unreachable, unavailable", "a cluster that is away"),
    Phrase(
        r"\b(is|are|was|were|be) (waited|looked|cared) (for|at|after)\b",
        "wait for, check, handle (active)",
        "is waited for",
    ),
    Phrase(r"\b(the one|the ones|those) of now\b", "the current one", "The one of now."),
    Phrase(r"\bof (its|their) own accord\b|\blest\b|\bfurniture\b", "plain words", "lest it fails"),
)


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """An occurrence of a phrase in a file. path: relative to the repository root."""

    path: str
    line: int
    found: str
    instead: str


_COMPILED = [
    # A line break may separate the words. Matching is case-sensitive, so that Python's None is not a hit.
    (re.compile(phrase.pattern.replace(" ", r"\s+")), phrase)
    for phrase in PHRASES
]


def find(text: str) -> Iterator[tuple[int, str, Phrase]]:
    """Yield the position, the matching words and the phrase for each hit in a text."""
    lowered = _lower_initials(text)
    for pattern, phrase in _COMPILED:
        for match in pattern.finditer(lowered):
            if match.groupdict().get("fine") is None:
                yield match.start(), " ".join(text[match.start() : match.end()].split()), phrase


def _lower_initials(text: str) -> str:
    """Lower-case the first letter of each word except None, so that phrases are found at the start of a sentence."""
    return re.sub(r"\b(?!None\b)[A-Z](?=[a-z])", lambda match: match[0].lower(), text)


def _strings(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Yield the string constants of a module, and its f-strings with `{}` in place of the values."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and " " in node.value:
                yield node, node.value
        elif isinstance(node, ast.JoinedStr):
            yield node, "".join(str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values)
            waiting += [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        elif not isinstance(node, ast.Name):
            waiting += children(node)


def _hits_of_python(path: str, source: str) -> Iterator[Hit]:
    lines = source.splitlines()
    for node, text in _strings(parse(source)):
        for start, found, phrase in find(text):
            end = node.end_lineno or node.lineno
            # Adjacent literals are joined without line breaks, so search the source lines for the words.
            containing = [number for number in range(node.lineno, end + 1) if found in lines[number - 1]]
            line = containing[0] if containing else min(node.lineno + text.count("\n", 0, start), end)
            yield Hit(path, line, found, phrase.instead)
    for first, comment in _comments(source) if _may_hit_in_comments(lines) else ():
        for start, found, phrase in find(comment):
            yield Hit(path, first + comment.count("\n", 0, start), found, phrase.instead)


def _may_hit_in_comments(lines: Sequence[str]) -> bool:
    """Return whether a hit in a comment is possible. Reading a file's tokens takes much longer than this."""
    comments = [line[line.index("#") :].lstrip("#") for line in lines if "#" in line]
    # Of several signs in a line, one may be in a string.
    return any("#" in comment for comment in comments) or any(True for _ in find("\n".join(comments)))


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment with the number of its first line. Comments on successive lines are joined."""
    first, joined = 0, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text, line = token.string.lstrip("#"), token.start[0]
            if joined and line == first + joined.count("\n") + 1:
                joined += "\n" + text
                continue
            if joined:
                yield first, joined
            first, joined = line, text
    if joined:
        yield first, joined


def hits_of(path: str, source: str) -> list[Hit]:
    """Return the hits in one file, sorted by line."""
    if path.endswith(".py"):
        return sorted(_hits_of_python(path, source))
    return sorted(
        Hit(path, source.count("\n", 0, start) + 1, found, phrase.instead) for start, found, phrase in find(source)
    )


def files() -> list[Path]:
    """Return the project's own files that contain prose, except the two that hold the phrases."""
    candidates = [path for path in ROOT.iterdir() if path.is_file()]
    folders = [*code_folders(), ROOT / "tests"]
    candidates += [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sorted(
        path
        for path in candidates
        if (path.suffix in TEXT_SUFFIXES | {".py"} or path.name in TEXT_NAMES)
        and path.name not in NOT_PROSE
        and path not in HOLDING_THE_PHRASES
    )


def scan(places: Iterable[str] = ()) -> list[Hit]:
    """Return all hits, or those in the given files and folders (relative to the repository root)."""
    wanted = [ROOT / place for place in places]
    chosen = [path for path in files() if not wanted or any(path == one or one in path.parents for one in wanted)]
    return [hit for path in chosen for hit in hits_of(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))]


def render(hits: Sequence[Hit], *, summary: bool) -> list[str]:
    """Return one line per hit, or one line per folder with the number of hits in it."""
    if not summary:
        return [f"{hit.path}:{hit.line}: {hit.found!r}: {hit.instead}" for hit in hits]
    folders = Counter(hit.path.rpartition("/")[0] or "." for hit in hits)
    return [f"{count:5} {folder}" for folder, count in sorted(folders.items())]


def main(arguments: Sequence[str]) -> int:
    """Print the hits. Return the exit status: 1 if any are found, else 0."""
    hits = scan(argument.rstrip("/") for argument in arguments if argument != "--summary")
    for line in render(hits, summary="--summary" in arguments):
        print(line)
    print(f"{len(hits)} in {len({hit.path for hit in hits})} files", file=sys.stderr)
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
