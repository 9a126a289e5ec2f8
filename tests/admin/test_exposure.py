"""An unprotected address of the admin API is reported."""

from __future__ import annotations

import logging

import pytest

from forebay.stream.admin.exposure import describe_exposure, exposure_of
from forebay.stream.config.sections import AdminSection, Settings
from forebay.stream.preflight import Status, check_admin
from tests.admin.test_server import serving


@pytest.mark.parametrize(
    ("settings", "exposed"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "10.0.0.1"}, True),
        ({"host": "pod.example"}, True),
        ({"host": "0.0.0.0", "token": "t"}, False),
        ({"host": "0.0.0.0", "enabled": False}, False),
    ],
)
def test_an_address_that_other_machines_reach_without_a_token_is_a_warning(
    settings: dict[str, object], exposed: bool
) -> None:
    section = AdminSection.model_validate(settings)
    assert (exposure_of(section, has_roles=False) is not None) is exposed
    check = check_admin(Settings(admin=section))
    assert check.status is (Status.WARNING if exposed else Status.OK)
    assert (check.remedy is not None) is exposed
    assert "token" in describe_exposure(section, has_roles=False) or not section.enabled


async def test_an_exposed_server_logs_a_warning_at_its_start(caplog: pytest.LogCaptureFixture) -> None:
    for settings, warned in (({"host": "0.0.0.0"}, True), ({"host": "0.0.0.0", "token": "t"}, False), ({}, False)):
        caplog.clear()
        async with serving(**settings):
            lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert any("FOREBAY_ADMIN__TOKEN" in line for line in lines) is warned, lines
