"""The block of examples at the end of a command's help."""

from __future__ import annotations


def examples(*lines: tuple[str, str]) -> str:
    """An epilog for click from (command line, what it does) pairs.

    What a line does stands behind it where there is room, else above it.
    """
    width = max(len(line) for line, _ in lines)
    # \b keeps click from filling the lines.
    block = ["\b", "Examples:"]
    for line, purpose in lines:
        if width + 4 + len(purpose) <= 76:
            block.append(f"  {line:<{width}}  # {purpose}" if purpose else f"  {line}")
        else:
            block += [f"  # {purpose}", f"  {line}"]
    return "\n".join(block)
