"""Random streams of labelled predictions by two versions: Zipf keys, and losses that are correlated within a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from forebay.stream.experiments.blocks import NUM_BLOCKS

Floats = npt.NDArray[np.float64]

_GRID = np.linspace(-6, 6, 4001)


@dataclass(frozen=True)
class Population:
    """Keys and their losses.

    A loss is gamma distributed, by a normal copula: z = sqrt(r) key + sqrt(1 - r) event. r is larger than the correlation of
    the losses within a key, which `correlation` measures.

    exponent: of Zipf's law.
    latent: r.
    shape: of the gamma distribution. 0.5: the standard deviation is 1.4 times the mean.
    agreement: correlation of the z of two versions for the same event.
    easy_heavy_keys: how much lower the z of the keys with the most events is.
    """

    num_keys: int = 50_000
    exponent: float = 1.0
    latent: float = 0.58
    shape: float = 0.5
    mean_loss: float = 0.3
    agreement: float = 0.9
    easy_heavy_keys: float = 0.0

    def losses(self, z_B: Floats) -> Floats:
        scale = self.mean_loss / self.shape
        table = stats.gamma.ppf(np.clip(stats.norm.cdf(_GRID), 1e-12, 1 - 1e-12), self.shape, scale=scale)
        return np.interp(z_B, _GRID, table)

    def shares(self) -> Floats:
        weights = 1 / np.arange(1, self.num_keys + 1) ** self.exponent
        return weights / weights.sum()

    def correlation(self, generator: np.random.Generator, pairs: int = 400_000) -> float:
        """Return the correlation of the losses of two events of a key."""
        key = generator.normal(size=pairs)
        first, second = (
            self.losses(np.sqrt(self.latent) * key + np.sqrt(1 - self.latent) * generator.normal(size=pairs))
            for _ in range(2)
        )
        return float(np.corrcoef(first, second)[0, 1])


class Events(NamedTuple):
    """Events in the order of their labels. shadow_losses_B: of another version for the same events."""

    blocks_B: npt.NDArray[np.uint16]
    is_canary_B: npt.NDArray[np.bool_]
    losses_B: Floats
    shadow_losses_B: Floats


class Streams:
    """Draws streams: in each one, other keys are the canary's, and keys have other losses."""

    def __init__(self, population: Population, *, share: float) -> None:
        self._population = population
        self._share = share
        self._cumulative = np.cumsum(population.shares())
        rank = np.arange(population.num_keys) / population.num_keys
        self._shift = -population.easy_heavy_keys * np.exp(-20 * rank)

    def draw(self, generator: np.random.Generator, count: int) -> Events:
        population = self._population
        block_of_key = generator.integers(0, NUM_BLOCKS, population.num_keys).astype(np.uint16)
        is_canary_key = generator.random(population.num_keys) < self._share
        z_of_key = generator.normal(size=population.num_keys) * np.sqrt(population.latent) + self._shift
        keys_B = np.searchsorted(self._cumulative, generator.random(count) * self._cumulative[-1])
        z_B = z_of_key[keys_B] + np.sqrt(1 - population.latent) * generator.normal(size=count)
        noise_B = np.sqrt(1 - population.agreement**2) * generator.normal(size=count)
        shadow_B = population.agreement * z_B + noise_B
        return Events(block_of_key[keys_B], is_canary_key[keys_B], population.losses(z_B), population.losses(shadow_B))
