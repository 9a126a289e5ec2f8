"""Run the source code that a model brings. Only the load gate and registration lead here: the first after the trust policy
has allowed the model, the second because its user has asked for it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import sys
import traceback
import weakref
from types import ModuleType
from typing import Final

from forebay.schemas.errors import ModelError

MODULE_PREFIX: Final = "forebay_model_"
_DIGEST_CHARS: Final = 16
_MAX_MESSAGE_CHARS: Final = 500


def load_source(source: bytes, file: str) -> ModuleType:
    """Execute Python source as a module under a private name, and return the module.

    The import system does not find the module by its file, and nothing is added to `sys.path`: the code imports what is
    installed, and no file beside it. It runs with a `__name__` of its own, so a block under `if __name__ == "__main__"`
    does not run.

    file: the path that tracebacks show. The file is not read.

    Raises ModelError(kind="code") with the line if the source cannot be compiled or raises.
    """
    try:
        text = importlib.util.decode_source(source)
        # The bytes and not the text, so that a declared encoding applies.
        code = compile(source, file, "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise _error(f"{file}{line}: not valid Python {_python()}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _error(f"{file}: not valid Python {_python()}: {error}") from None
    module = ModuleType(_unused_name(source))
    module.__package__ = ""  # relative imports fail with an error that says why
    # Without a modification time, so that linecache never replaces the source by what the disk holds later.
    linecache.cache[file] = (len(source), None, text.splitlines(keepends=True), file)
    sys.modules[module.__name__] = module  # dataclasses and annotations look up a class's module there
    try:
        exec(code, module.__dict__)  # noqa: S102 - the trust policy allows this code
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise code_error(error, file) from error
    return module


def unload_with(owner: object, module: ModuleType, file: str) -> None:
    """Remove the module from the import system when its owner, which runs it, is dropped; references to its content stay valid.

    file: as given to `load_source`.
    """
    finalizer = weakref.finalize(owner, _unload, module.__name__, file, linecache.cache.get(file))
    finalizer.atexit = False


def unload(module: ModuleType, file: str) -> None:
    """Remove the module from the import system, because nothing runs it. file: as given to `load_source`."""
    _unload(module.__name__, file, linecache.cache.get(file))


def _unload(name: str, file: str, lines: object) -> None:
    sys.modules.pop(name, None)
    if linecache.cache.get(file) is lines:  # and not those of a module that was loaded later
        linecache.cache.pop(file, None)


def code_error(error: BaseException, file: str, action: str = "") -> ModelError:
    """Return the ModelError(kind="code") for what a model's own code has raised: with the last line of its file that ran.

    action: what was done, such as "building Net".
    """
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f"{file}, line {lines[-1]}" if lines else file
    what = f"{action} raised " if action else ""
    text = str(error)[:_MAX_MESSAGE_CHARS]
    return ModelError(
        f"{place}: {what}{type(error).__name__}{': ' if text else ''}{text}", kind="code", remedy=_remedy(error)
    )


def _remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return (
            f"install {error.name.partition('.')[0]} in the environment of the worker; if it is a file of your own, move "
            "its content into the model's file"
        )
    if isinstance(error, ImportError):
        return "import by absolute names what is installed; all other code of the model must be in its one file"
    return "correct the code and publish the model again"


def _unused_name(source: bytes) -> str:
    """Return a name that no loaded module has: two versions with the same source share no state."""
    stem = MODULE_PREFIX + hashlib.sha256(source).hexdigest()[:_DIGEST_CHARS]
    name, number = stem, 1
    while name in sys.modules:
        number += 1
        name = f"{stem}_{number}"
    return name


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _error(message: str) -> ModelError:
    return ModelError(message, kind="code", remedy="correct the code and publish the model again")
