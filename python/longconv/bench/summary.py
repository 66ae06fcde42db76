# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""What many records say together: geometric means, odd sizes against round ones, the latest of repetitions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from longconv.bench.problem import PASSES, Problem
from longconv.bench.record import Numbers, Record
from longconv.bench.stats import geometric_mean


@dataclasses.dataclass(frozen=True)
class Setting:
    """What records must share to be compared with each other."""

    kind: str
    device: str
    isa: str
    threads: int
    dtype: str
    precision: str
    huge_pages: str
    clock: str
    forced_kernel: str | None = None

    @staticmethod
    def of(record: Record) -> Setting:
        """The setting of one record."""
        device, problem = record["device"], Problem.parse(record["problem"])
        return Setting(
            device["kind"],
            device["name"],
            device["isa"],
            device["threads"],
            problem.dtype,
            problem.precision,
            device["huge_pages"],
            record["clock"],
            record["forced_kernel"],
        )

    @property
    def arithmetic(self) -> str:
        """The dtype, for f32 on CUDA with its precision."""
        return self.precision if self.dtype == "f32" and self.kind == "cuda" else self.dtype


def pass_of(record: Record) -> str:
    """The pass that was measured."""
    return Problem.parse(record["problem"]).pass_name


def latest(records: Iterable[Record]) -> list[Record]:
    """Of records of the same problem, case and setting only the one with the latest date, in order of appearance. What
    only some runs look at (first calls, other configs) it takes from the others, the latest of them."""
    found: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        key = (Setting.of(record), record["cases"], record["case"], record["problem"])
        found.setdefault(key, []).append(record)
    return [_merged(sorted(repetitions, key=lambda record: record["date"])) for repetitions in found.values()]


def _merged(repetitions: Sequence[Record]) -> Record:
    last = repetitions[-1]
    if last["numbers"] is None:
        return last
    numbers = last["numbers"].copy()
    for record in reversed(repetitions[:-1]):
        if record["numbers"] is not None and record["versions"] == last["versions"]:
            numbers["first_call_ms"] = numbers["first_call_ms"] or record["numbers"]["first_call_ms"]
            numbers["planner"] = numbers["planner"] or record["numbers"]["planner"]
    merged = last.copy()
    merged["numbers"] = numbers
    return merged


def measured(records: Iterable[Record]) -> list[tuple[Record, Numbers]]:
    """Records that hold numbers, with them."""
    return [(record, record["numbers"]) for record in records if record["numbers"] is not None]


@dataclasses.dataclass(frozen=True)
class GeometricMean:
    """Of the median ratios of one pass in one setting, and the smallest of them."""

    setting: Setting
    pass_name: str
    ratio: float
    cases: int
    failed: int
    worst_ratio: float
    worst_case: str


def geometric_means(records: Sequence[Record]) -> list[GeometricMean]:
    """One for each setting and pass that has numbers, in order of appearance and of the passes."""
    groups: dict[tuple[Setting, str], list[Record]] = {}
    for record in records:
        groups.setdefault((Setting.of(record), pass_of(record)), []).append(record)
    means = []
    for (setting, pass_name), group in sorted(groups.items(), key=lambda item: PASSES.index(item[0][1])):
        ratios = [(numbers["ratio"]["median"], record["case"]) for record, numbers in measured(group)]
        if ratios:
            mean = geometric_mean(ratio for ratio, _ in ratios)
            means.append(GeometricMean(setting, pass_name, mean, len(ratios), len(group) - len(ratios), *min(ratios)))
    return means


@dataclasses.dataclass(frozen=True)
class OddSize:
    """Time per element of x and y, over that of the round-sized neighbour, for both sides; 1: no penalty."""

    record: Record
    slowdown: float
    pytorch_slowdown: float


def odd_sizes(records: Sequence[Record]) -> list[OddSize]:
    """Every odd-sized case whose neighbour was measured in the same pass and setting, the worst first."""
    by_name = {
        (Setting.of(record), record["cases"], record["case"], pass_of(record)): (record, numbers)
        for record, numbers in measured(records)
    }
    found = []
    for record, numbers in by_name.values():
        key = (Setting.of(record), record["cases"], record["neighbour"] or "", pass_of(record))
        if key in by_name:
            near, near_numbers = by_name[key]
            elements = Problem.parse(record["problem"]).signal_elements / Problem.parse(near["problem"]).signal_elements
            ours = numbers["ours_ms"]["median"] / near_numbers["ours_ms"]["median"] / elements
            theirs = numbers["pytorch_ms"]["median"] / near_numbers["pytorch_ms"]["median"] / elements
            found.append(OddSize(record, ours, theirs))
    return sorted(found, key=lambda odd: -odd.slowdown)
