"""Examples at the end of a command's help."""

from __future__ import annotations


def examples(*lines: tuple[str, str]) -> str:
    """Return an epilog for click from pairs of a command line and its purpose.

    The purposes follow the command lines as comments if all of them fit, else they precede them.
    """
    width = max(len(line) for line, _ in lines)
    fits = all(width + 4 + len(purpose) <= 76 for _, purpose in lines)
    # \b prevents click from rewrapping the lines.
    block = ["\b", "Examples:"]
    for line, purpose in lines:
        if fits:
            block.append(f"  {line:<{width}}  # {purpose}")
        else:
            block += [f"  # {purpose}", f"  {line}"]
    return "\n".join(block)
