"""Read devices for `forebay edge`: this machine, or a described one, and what operations cost there."""

from __future__ import annotations

from pathlib import Path

import msgspec

from forebay.models.edge.device_profile import DeviceProfile, read_profile
from forebay.models.edge.plan import costs_of
from forebay.models.edge.this_machine import inspect_machine
from forebay.models.edge.unit_costs import UnitCosts
from forebay.schemas.errors import ConfigError
from forebay.stream.terminal.console import stderr_console


def read_device(path: Path | None) -> DeviceProfile:
    """Return the device in a TOML file, or this machine. Raises ConfigError."""
    if path is None:
        return inspect_machine()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}",
            kind="device",
            remedy="`forebay edge inspect --write device.toml` writes an example",
        ) from None
    return read_profile(text, str(path))


def measured(profile: DeviceProfile) -> DeviceProfile:
    """Return a profile of this machine with its unit costs, measured now. Shows progress on a terminal."""
    from forebay.models.edge.measuring import measure_unit_costs

    with stderr_console().status("measuring") as status:
        costs = measure_unit_costs(on_probe=lambda cost: status.update(f"measuring {cost}"))
    return msgspec.structs.replace(profile, unit_costs=costs)


def device_costs(profile: DeviceProfile) -> tuple[UnitCosts, str]:
    """Return the unit costs of a device, and where they come from; this machine is measured if the profile has none."""
    if profile.unit_costs is not None:
        return profile.unit_costs, "measured there"
    here = measured(inspect_machine())
    if profile.processor == here.processor:
        assert here.unit_costs is not None, "it has just been measured"
        return here.unit_costs, "measured on this machine"
    return costs_of(profile, here), "measured on this machine, and scaled by frequency and width of vectors"
