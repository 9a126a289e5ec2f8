"""What is known of a device: processor, memory, caches, accelerators, power, limits and measured unit costs. Pure.

Written and read as TOML, so that a device can be described on another machine.
"""

from __future__ import annotations

import tomllib
from typing import Final

import msgspec

from forebay.models.edge.limits import Limits
from forebay.models.edge.unit_costs import UnitCosts
from forebay.models.training.toml_text import to_toml
from forebay.schemas.errors import ConfigError

UNKNOWN: Final = "unknown"


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A table of the file. Numbers that are not known are 0."""


class Processor(_Table, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The processor.

    cores: those that a process may use.
    mhz: the highest frequency.
    instruction_sets: those that matter for models, such as AVX2, AVX512_VNNI and NEON.
    """

    name: str = UNKNOWN
    architecture: str = UNKNOWN
    cores: int = 1
    mhz: int = 0
    instruction_sets: list[str] = []


class Memory(_Table, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Memory and caches. available_bytes: what a process may use, after limits of its control group."""

    total_bytes: int = 0
    available_bytes: int = 0
    l1d_bytes: int = 0
    l2_bytes: int = 0
    l3_bytes: int = 0


class Power(_Table, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Power.

    source: mains, battery or unknown.
    energy_counter: the file that counts the energy of the processor; empty where none is readable.
    active_watts: power of a core that is busy; 0 if unknown.
    """

    source: str = UNKNOWN
    energy_counter: str = ""
    active_watts: float = 0.0


class DeviceLimits(_Table, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Limits on a model; 0 for none. See `Limits`."""

    model_bytes: int = 0
    memory_bytes: int = 0
    p99_ms: float = 0.0
    power_watts: float = 0.0

    def limits(self) -> Limits:
        """Return the limits, with None for none."""
        return Limits(
            self.model_bytes or None,
            self.memory_bytes or None,
            p99_ms=self.p99_ms or None,
            power_watts=self.power_watts or None,
        )


class DeviceProfile(_Table, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A device. unit_costs: what operations cost on it; None if they were not measured there."""

    name: str = UNKNOWN
    processor: Processor = Processor()
    memory: Memory = Memory()
    accelerators: list[str] = []
    power: Power = Power()
    limits: DeviceLimits = DeviceLimits()
    unit_costs: UnitCosts | None = None

    def to_toml(self) -> str:
        """Return the file's text."""
        document = msgspec.to_builtins(self)
        plain = {key: value for key, value in document.items() if not isinstance(value, dict)}
        tables = {key: value for key, value in document.items() if isinstance(value, dict)}
        return to_toml({"device": plain, **tables})


def read_profile(text: str, file: str) -> DeviceProfile:
    """Return the device in the text of a TOML file. Raises ConfigError that names the file, the key and what is allowed."""
    try:
        document = tomllib.loads(text)
        device = document.pop("device", {})
        if not isinstance(device, dict):
            raise msgspec.ValidationError("Expected a table - at `$.device`")
        return msgspec.convert({**document, **device}, DeviceProfile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{file}: {error}",
            kind="device",
            remedy="`forebay edge inspect --write device.toml` writes an example",
        ) from None
