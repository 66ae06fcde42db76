# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""How good the planner's choice is on a GPU: every config of the chosen kernel is timed, and each other kernel's best.

A GPU's plan lists its candidates by their expected time; the operator ``longconv::force_cuda_plan`` picks one by its
number in that list.
"""

from __future__ import annotations

import dataclasses
import os
import re
import statistics
import sys
from collections.abc import Iterator, Sequence

import torch

from longconv._ops import plan as longconv_plan
from longconv.bench.clocks import Call, Clock
from longconv.bench.paired import calls_per_sample
from longconv.bench.problem import Problem
from longconv.bench.record import ConfigTime, PlannerNumbers

FORCED_KERNEL = "LONGCONV_CUDA_KERNEL"
_CANDIDATE = re.compile(r"(?:chosen|runner-up) +((\w+)[^:]*): (\S+) ms expected")
_HOPELESS = 4.0  # other kernels are timed if they are expected to take at most so many times the choice's time
_PASSES = 2
_SAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Candidate:
    """`number` is its place in the plan's list; 0 is the choice."""

    number: int
    text: str
    kernel: str
    expected_ms: float


def device_name(device: torch.device) -> str:
    """As the planner knows it."""
    return f"cuda:{device.index or 0}"


def plan_text(problem: Problem, device: torch.device) -> str:
    """The plan that this process would follow on the GPU."""
    return longconv_plan(problem.library_form, device=device_name(device))


def candidates(plan: str) -> list[Candidate]:
    """Those of a printed plan that are worth timing: all of the chosen kernel, and each other kernel's first."""
    found = [
        Candidate(number, match.group(1), match.group(2), float(match.group(3)))
        for number, match in enumerate(filter(None, map(_CANDIDATE.match, plan.splitlines())))
    ]
    kept, seen = [], set[str]()
    for candidate in found:
        is_first = candidate.kernel not in seen and candidate.expected_ms <= _HOPELESS * found[0].expected_ms
        if candidate.kernel == found[0].kernel or is_first:
            kept.append(candidate)
        seen.add(candidate.kernel)
    return kept


def compare(problem: Problem, device: torch.device, call: Call, clock: Clock) -> PlannerNumbers:
    """Times the call under each candidate. One that fails is named on standard error and left out."""
    entries = candidates(plan_text(problem, device))
    times: dict[int, float] = {}
    for candidate in list(entries) * _PASSES:
        try:
            seconds = statistics.median(_samples(candidate, call, clock))
        except RuntimeError as error:
            print(f"{problem}, {candidate.text}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        times[candidate.number] = min(seconds, times.get(candidate.number, seconds))
    return summary([candidate for candidate in entries if candidate.number in times], times)


def _samples(candidate: Candidate, call: Call, clock: Clock) -> Iterator[float]:
    forced = os.environ.get(FORCED_KERNEL, "")
    torch.ops.longconv.force_cuda_plan(forced, candidate.number)
    try:
        calls = min(calls_per_sample(clock.sample(call, 2).seconds), 20)
        for _ in range(_SAMPLES):
            yield clock.sample(call, calls).seconds
    finally:
        torch.ops.longconv.force_cuda_plan(forced, 0)


def summary(entries: Sequence[Candidate], seconds: dict[int, float]) -> PlannerNumbers:
    """The choice against the best."""
    best = min(entries, key=lambda candidate: seconds[candidate.number])
    configs: list[ConfigTime] = [
        {"config": c.text, "expected_ms": c.expected_ms, "ms": float(f"{seconds[c.number] * 1e3:.6g}")} for c in entries
    ]
    return {
        "chosen_over_best": float(f"{seconds[entries[0].number] / seconds[best.number]:.4g}"),
        "best": best.text,
        "configs": configs,
    }
