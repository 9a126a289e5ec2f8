"""A configuration file that was found, not named: used only if no other user could have written it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.found_file import check_found_file, distrust, trusted_users

ME, OTHER = 1000, 2000


def status(uid: int, mode: int) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, uid, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("uid", "mode", "reason"),
    [
        (ME, stat.S_IFREG | 0o644, None),
        (0, stat.S_IFREG | 0o644, None),
        (ME, stat.S_IFREG | 0o664, None),
        (ME, stat.S_IFDIR | 0o755, None),
        (0, stat.S_IFDIR | stat.S_ISVTX | 0o777, None),
        (ME, stat.S_IFLNK | 0o777, None),
        (OTHER, stat.S_IFREG | 0o644, "belongs to another user (id 2000)"),
        (OTHER, stat.S_IFDIR | 0o755, "belongs to another user (id 2000)"),
        (OTHER, stat.S_IFLNK | 0o777, "belongs to another user (id 2000)"),
        (ME, stat.S_IFREG | 0o666, "can be written by every user"),
        (ME, stat.S_IFDIR | 0o777, "can be written by every user"),
    ],
)
def test_the_owner_decides(uid: int, mode: int, reason: str | None) -> None:
    assert distrust(status(uid, mode), trusted_users(ME, {})) == reason


@pytest.mark.parametrize(
    ("user", "environ", "trusted"),
    [
        (ME, {}, {0, ME}),
        (0, {}, {0}),
        (0, {"SUDO_UID": "1000"}, {0, ME}),
        (0, {"SUDO_UID": "x"}, {0}),
        (ME, {"SUDO_UID": "2000"}, {0, ME}),  # SUDO_UID counts only in a process of root
    ],
)
def test_the_trusted_users(user: int, environ: dict[str, str], trusted: set[int]) -> None:
    assert trusted_users(user, environ) == trusted


def test_a_link_of_the_user_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("")
    (tmp_path / "forebay.toml").symlink_to("real.toml")
    check_found_file(tmp_path / "forebay.toml", {})
    (tmp_path / "real.toml").chmod(0o666)
    with pytest.raises(ConfigError, match="it can be written by every user"):
        check_found_file(tmp_path / "forebay.toml", {})


def test_the_folder_is_checked_too(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "forebay.toml").write_text("")
    with pytest.raises(ConfigError, match="the folder can be written by every user"):
        check_found_file(folder / "forebay.toml", {})
