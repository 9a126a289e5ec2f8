"""How to install an optional part of Forebay."""

from __future__ import annotations


def install_hint(*extras: str) -> str:
    """Return how to install the missing packages of one or several extras."""
    noun, listed = "extra" if len(extras) == 1 else "extras", ",".join(extras)
    # Forebay is not on a package index: it is installed from a checkout or a wheel.
    return (
        f"install Forebay's {noun} {' and '.join(extras)}: pip install '.[{listed}]' in a checkout, "
        f"or 'PATH-OF-THE-WHEEL[{listed}]'"
    )
