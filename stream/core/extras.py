"""How to install an optional part of Forebay."""

from __future__ import annotations


def install_hint(extra: str) -> str:
    """Return what to do where the packages of an extra are missing."""
    # No package index has Forebay: it is installed from a checkout or from a wheel.
    return f"install Forebay's extra {extra}: pip install '.[{extra}]' in a checkout, or 'PATH-OF-THE-WHEEL[{extra}]'"
