"""The command `forebay`. Importing this imports no command: each is loaded when it is called."""

from stream.cli.group import main

__all__ = ["main"]
