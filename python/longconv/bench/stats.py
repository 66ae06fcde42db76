# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Statistics of paired samples, without NumPy (PyTorch does not need it, so neither does the benchmark).

Ratios are PyTorch's time over ours: above 1, longconv is faster.
"""

from __future__ import annotations

import dataclasses
import math
import random
import statistics
from collections.abc import Iterable, Sequence

BOOTSTRAP_RESAMPLES = 2000
BOOTSTRAP_SEED = 20


@dataclasses.dataclass(frozen=True)
class Summary:
    """Location and spread of one side's samples, in the samples' unit."""

    median: float
    minimum: float
    first_quartile: float
    third_quartile: float

    @property
    def interquartile_range(self) -> float:
        """The spread that no single outlier moves."""
        return self.third_quartile - self.first_quartile


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def quantile(samples: Sequence[float], fraction: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan's type 7, NumPy's default)."""
    if not samples:
        raise ValueError("quantile of no samples")
    ordered = sorted(samples)
    position = fraction * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def summarize(samples: Sequence[float]) -> Summary:
    """Raises ValueError when there are no samples."""
    return Summary(quantile(samples, 0.5), min(samples), quantile(samples, 0.25), quantile(samples, 0.75))


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Median of the per-round ratios theirs/ours with its 95 % percentile-bootstrap interval.

    Pairing by round cancels what slows both sides down (clock frequency, neighbours on the machine). The generator is
    seeded: the same samples always give the same interval. Raises ValueError if the lengths differ or are zero.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"paired samples differ in number: {len(ours)} and {len(theirs)}")
    ratios = [b / a for a, b in zip(ours, theirs)]
    if not ratios:
        raise ValueError("ratio of no samples")
    generator = random.Random(BOOTSTRAP_SEED)
    medians = [statistics.median(generator.choices(ratios, k=len(ratios))) for _ in range(BOOTSTRAP_RESAMPLES)]
    return Interval(statistics.median(ratios), quantile(medians, 0.025), quantile(medians, 0.975))


def geometric_mean(values: Iterable[float]) -> float:
    """The mean for ratios. Raises ValueError when there is no value or one is not positive."""
    logarithms = []
    for value in values:
        if not value > 0:
            raise ValueError(f"geometric mean needs positive values, got {value}")
        logarithms.append(math.log(value))
    if not logarithms:
        raise ValueError("geometric mean of no values")
    return math.exp(math.fsum(logarithms) / len(logarithms))
