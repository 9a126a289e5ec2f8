"""How to install an optional part of Forebay."""

from __future__ import annotations


def install_hint(extra: str) -> str:
    """Return how to install the missing packages of an extra."""
    # Forebay is not on a package index: it is installed from a checkout or a wheel.
    return f"install Forebay's extra {extra}: pip install '.[{extra}]' in a checkout, or 'PATH-OF-THE-WHEEL[{extra}]'"
