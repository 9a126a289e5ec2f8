"""The parser of a page's code blocks."""

from __future__ import annotations

import pytest

from tests.docs.blocks import Block, Command, blocks_of, commands_of, words_of

PAGE = """# Page

```console
$ first --option   # why
one line
another
$ second \\
    --continued
```

```toml
[section]
```
"""


def test_blocks_know_their_language_and_line() -> None:
    assert [(block.language, block.line) for block in blocks_of(PAGE)] == [("console", 4), ("toml", 12)]


def test_commands_have_the_output_below_them_and_no_comment() -> None:
    assert list(commands_of(blocks_of(PAGE)[0])) == [
        Command("first --option", ("one line", "another"), 4),
        Command("second --continued", (), 7),
    ]


def test_a_console_block_begins_with_a_command() -> None:
    with pytest.raises(ValueError, match="line 5"):
        list(commands_of(Block("console", "output only\n", 5)))


def test_words_leave_out_what_changes_from_run_to_run() -> None:
    assert words_of("replayed 20 to features in 0.0 s, models/damp/1 dead-letters 3a7f8811") == ["replayed", "features"]
