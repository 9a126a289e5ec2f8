"""Where a model repository is: a folder on this machine, or a URL of a store that fsspec reads."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from forebay.schemas.errors import ModelError

_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


def is_url(repository: Path | str) -> bool:
    """Return whether a repository is in a store behind a URL, and not a folder on this machine."""
    match = None if isinstance(repository, Path) else _URL.fullmatch(repository)
    return match is not None and match["scheme"].lower() != "file"


def local_folder(repository: Path | str) -> Path:
    """Return the folder of a repository on this machine, given as a path or as a `file://` URL."""
    if isinstance(repository, Path) or not _URL.fullmatch(repository):
        return Path(repository)
    parts = urlsplit(repository)
    if parts.netloc not in ("", "localhost"):
        raise ModelError(
            f"{repository}: this URL names the host {parts.netloc!r}",
            kind="repository_not_found",
            remedy="write a file URL with three slashes, such as file:///srv/models",
        )
    return Path(unquote(parts.path))


def checked_url(url: str) -> str:
    """Return the URL without slashes at its end. Raises ModelError(kind="repository") if it is not one of a repository."""
    match = _URL.fullmatch(url)
    host = "" if match is None else match["rest"].partition("/")[0]
    if "@" in host:
        raise ModelError(
            f"{url.partition('://')[0]}://…@{host.rpartition('@')[2]}: the URL of the repository holds a login",
            kind="repository",
            remedy="give the login where the store's own client reads it: its environment variables or configuration file",
        )
    folders = [] if match is None else match["rest"].split("/")
    if match is None or not any(folders) or any(part in (".", "..") for part in folders) or "::" in url:
        raise ModelError(
            f"{url}: this is not the URL of a model repository",
            kind="repository",
            remedy="give a URL such as s3://bucket/models, without '.', '..' and '::'",
        )
    return url.rstrip("/")


def normalise_repository(place: str) -> str:
    """Return the path or URL of a repository in the form in which the trust policy compares it."""
    return place.rstrip("/") if is_url(place) else os.path.realpath(local_folder(place))
