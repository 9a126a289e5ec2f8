"""The hint about the PATH after a demo that was started by its path."""

from __future__ import annotations

from pathlib import Path

from forebay.stream.demo.next_steps import path_hint


def test_the_demo_explains_how_to_put_forebay_on_the_path(tmp_path: Path) -> None:
    programs = tmp_path / "a b" / "bin"
    programs.mkdir(parents=True)
    python = programs / "python"
    assert path_hint(python, "/nowhere") == []  # it is not installed there either

    (programs / "forebay").touch(mode=0o755)
    hint = "\n".join(path_hint(python, "/nowhere"))
    assert str(programs / "forebay") in hint
    assert f"export PATH='{programs}':\"$PATH\"" in hint
    assert path_hint(python, f"/nowhere:{programs}") == []
