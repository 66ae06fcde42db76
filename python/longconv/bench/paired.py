# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Alternate rounds: in each round both sides run once, the order changing from round to round."""

from __future__ import annotations

import dataclasses
import gc
import math
import time

from longconv.bench.clocks import Call, Clock, Sample

SHORTEST_SAMPLE_SECONDS = 2e-3
MOST_CALLS_PER_SAMPLE = 1000


@dataclasses.dataclass(frozen=True)
class Budget:
    """When to stop: after `least_rounds` clean rounds that together took `least_seconds`, and in any case after
    `most_rounds` rounds, once `least_rounds` rounds of any kind are done after `most_seconds`, or, one round done, after
    `hopeless_seconds`."""

    least_rounds: int = 9
    least_seconds: float = 1.0
    most_rounds: int = 300
    most_seconds: float = 20.0
    hopeless_seconds: float = math.inf


@dataclasses.dataclass
class Rounds:
    """Samples of both sides by round. A round in which either side was preempted is dropped as a whole, unless fewer
    than half of the wanted clean rounds came about: then all are kept and the measurement is called disturbed."""

    ours: list[Sample]
    theirs: list[Sample]
    least_rounds: int

    @property
    def clean(self) -> list[int]:
        return [i for i, (a, b) in enumerate(zip(self.ours, self.theirs)) if not (a.is_preempted or b.is_preempted)]

    @property
    def is_disturbed(self) -> bool:
        return len(self.clean) < max(1, math.ceil(self.least_rounds / 2))

    @property
    def kept(self) -> list[int]:
        return list(range(len(self.ours))) if self.is_disturbed else self.clean

    @property
    def dropped(self) -> list[int]:
        kept = set(self.kept)
        return [i for i in range(len(self.ours)) if i not in kept]


def calls_per_sample(seconds_per_call: float) -> int:
    """So many calls that a sample is long against the clock's resolution and the cost of reading it."""
    wanted = math.ceil(SHORTEST_SAMPLE_SECONDS / max(seconds_per_call, 1e-9))
    return min(max(wanted, 1), MOST_CALLS_PER_SAMPLE)


def run(ours: Call, theirs: Call, clock: Clock, budget: Budget) -> Rounds:
    """Warms both sides up, then measures alternate rounds within the budget. The collector is off meanwhile."""
    sides = (ours, theirs)
    calls = []
    for call in sides:
        clock.sample(call, 1)
        calls.append(calls_per_sample(clock.sample(call, 1).seconds))
    samples: tuple[list[Sample], list[Sample]] = ([], [])
    rounds = Rounds(samples[0], samples[1], budget.least_rounds)
    start = time.perf_counter()
    clean_rounds = 0
    clean_seconds = 0.0
    collector_was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        while len(rounds.ours) < budget.most_rounds:
            order = (0, 1) if len(rounds.ours) % 2 == 0 else (1, 0)
            for side in order:
                samples[side].append(clock.sample(sides[side], calls[side]))
            ours_last, theirs_last = samples[0][-1], samples[1][-1]
            if not (ours_last.is_preempted or theirs_last.is_preempted):
                clean_rounds += 1
                clean_seconds += ours_last.seconds * calls[0] + theirs_last.seconds * calls[1]
            if clean_rounds >= budget.least_rounds and clean_seconds >= budget.least_seconds:
                break
            elapsed = time.perf_counter() - start
            if len(rounds.ours) >= budget.least_rounds and elapsed >= budget.most_seconds:
                break
            if elapsed >= budget.hopeless_seconds:
                break
    finally:
        if collector_was_on:
            gc.enable()
    return rounds
