"""Redaction of values that may contain a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.config.redaction import HIDDEN, only_host, only_program, without_arguments, without_login


@pytest.mark.parametrize(
    ("url", "login_hidden", "host_shown"),
    [
        ("http://a", "http://a", "http://a"),
        ("http://a:1/b/c", "http://a:1/b/c", f"http://a:1/{HIDDEN}"),
        ("https://u:p@a/", f"https://{HIDDEN}@a/", f"https://{HIDDEN}@a/"),
        ("https://a?k=v", f"https://a?{HIDDEN}", f"https://a/{HIDDEN}"),
        ("https://a#x", f"https://a?{HIDDEN}", f"https://a/{HIDDEN}"),
        ("https://u:p@q@a/", f"https://{HIDDEN}@a/", f"https://{HIDDEN}@a/"),
        ("ftp://u:p@a/", HIDDEN, HIDDEN),
        ("http://u:p/q@a/", HIDDEN, HIDDEN),
        ("", HIDDEN, HIDDEN),
    ],
)
def test_urls(url: str, login_hidden: str, host_shown: str) -> None:
    assert without_login(url) == login_hidden
    assert only_host(url) == host_shown


@given(st.text(alphabet="ab:@/?#[]%", max_size=12), st.text(alphabet="a@/:?#", max_size=12))
def test_logins_are_never_shown(before: str, after: str) -> None:
    url = f"http://{before}SECRET@{after}"
    assert "SECRET" not in without_login(url)
    assert "SECRET" not in only_host(url)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("/bin/token", "/bin/token"),
        ("/bin/token --secret x", f"/bin/token {HIDDEN}"),
        ("'/my bin/token' x", f"'/my bin/token' {HIDDEN}"),
        ("token 'x", HIDDEN),
        ("", HIDDEN),
    ],
)
def test_commands(command: str, shown: str) -> None:
    assert only_program(command) == shown


def test_arguments_are_hidden_in_the_output_of_a_command() -> None:
    written = "usage: token -u NAME: no such secret: hunter2 (hunter2-extra)"
    assert without_arguments(written, ["token", "-u", "hunter2", "hunter2-extra"]) == (
        f"usage: token -u NAME: no such secret: {HIDDEN} ({HIDDEN})"
    )
