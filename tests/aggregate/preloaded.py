"""What `forebay aggregate` imports, for the fork server of `tests.aggregate.harness`."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

_SPEC = find_spec("faust")
for _name in ("cli.group", "cli.aggregate", "aggregate.service"):
    import_module(f"forebay.stream.{_name}")
# Faust replaces its module by one without a spec, so that the command would not find the package that is loaded already.
sys.modules["faust"].__spec__ = _SPEC
