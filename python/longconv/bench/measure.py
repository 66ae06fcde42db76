# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Measures one problem: agreement first, then time, then memory; the result is a record."""

from __future__ import annotations

import dataclasses
import gc
import math
import shlex
import statistics
from typing import Callable

import torch

from longconv.bench import environment, paired, stats
from longconv.bench.case_files import Case
from longconv.bench.clocks import Call, Clock, CpuClock, CudaClock, Sample, peak_extra_bytes
from longconv.bench.operands import (
    Engine,
    agreement_limit,
    longconv_engine,
    make_operands,
    pytorch_engine,
    relative_difference,
)
from longconv.bench.problem import Problem
from longconv.bench.record import SCHEMA, Numbers, Record, Times
from longconv.bench.roofline import RooflineMeter, matmul_precision


class Disagreement(RuntimeError):
    """The two sides computed different things: there is nothing to time."""


@dataclasses.dataclass
class Bench:
    """What stays the same for all problems of a run."""

    device: torch.device
    clock_name: str = "wall"
    flush_l2: bool = True
    budget: paired.Budget = dataclasses.field(default_factory=paired.Budget)
    ours: Engine = longconv_engine
    theirs: Engine = pytorch_engine
    commit: str | None = None
    plan: Callable[[Problem, torch.device], str | None] = environment.plan_line

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            self.clock_name = "cuda-events"
        elif self.clock_name == "cpu" and torch.get_num_threads() != 1:
            raise ValueError(f"CPU time is a measure of one thread only, got {torch.get_num_threads()} threads")
        self.clock: Clock = (
            CudaClock(self.device, self.flush_l2) if self.device.type == "cuda" else CpuClock(self.clock_name == "cpu")
        )
        self.meter = RooflineMeter(self.device, self.clock, self.budget.most_seconds)
        self._device_info = environment.device_info(self.device)
        self._versions = environment.versions(self.device)
        self._source = environment.source(self.commit)

    def run(self, cases_name: str, case: Case, problem: Problem) -> Record:
        """Never raises for what a problem may meet (not supported, out of memory, disagreement): `error` says it."""
        numbers: Numbers | None = None
        error: str | None = None
        plan: str | None = None
        try:
            with matmul_precision(problem.precision), torch.no_grad():
                plan = self.plan(problem, self.device)
                numbers = self._measure(problem)
        except (RuntimeError, NotImplementedError, ValueError, TypeError) as failure:
            error = f"{type(failure).__name__}: {str(failure).splitlines()[0] if str(failure) else ''}"
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return {
            "schema": SCHEMA,
            "date": environment.now(),
            "case": case.name,
            "what": case.what,
            "cases": cases_name,
            "neighbour": case.neighbour,
            "problem": str(problem),
            "clock": self.clock_name,
            "device": self._device_info,
            "versions": self._versions,
            "source": self._source,
            "plan": plan,
            "replay": self._replay(problem),
            "numbers": numbers,
            "error": error,
        }

    def _measure(self, problem: Problem) -> Numbers:
        operands = make_operands(problem, self.device)
        ours, theirs = self.ours(problem, operands), self.theirs(problem, operands)
        difference = self._agreement(problem, ours, theirs)
        rounds = paired.run(ours, theirs, self.clock, self.budget)
        extra_ours, extra_theirs = self._extra_bytes(problem, ours), self._extra_bytes(problem, theirs)
        kept = rounds.kept
        ours_seconds = [rounds.ours[i].seconds for i in kept]
        theirs_seconds = [rounds.theirs[i].seconds for i in kept]
        ours_median, theirs_median = statistics.median(ours_seconds), statistics.median(theirs_seconds)
        ratio = stats.paired_ratio(ours_seconds, theirs_seconds)
        roof = self.meter.roofline(problem.dtype, problem.precision)
        floor = roof.floor_seconds(problem)
        gemm = roof.gemm_flops_per_second
        return {
            "ours_ms": _times([rounds.ours[i] for i in kept]),
            "pytorch_ms": _times([rounds.theirs[i] for i in kept]),
            "ratio": {"median": _round(ratio.value), "low": _round(ratio.low), "high": _round(ratio.high)},
            "gflops": _round(problem.flops / ours_median * 1e-9),
            "gbps": _round(problem.compulsory_bytes / ours_median * 1e-9),
            "roofline": {
                "copy_gbps": _round(roof.copy_bytes_per_second * 1e-9),
                "gemm_gflops": None if gemm is None else _round(gemm * 1e-9),
                "bound": roof.bound(problem),
                "floor_ms": _round(floor * 1e3),
                "ours_fraction": _round(floor / ours_median),
                "pytorch_fraction": _round(floor / theirs_median),
            },
            "extra_bytes_ours": extra_ours,
            "extra_bytes_pytorch": extra_theirs,
            "relative_difference": difference,
            "rounds": {"total": len(rounds.ours), "dropped": rounds.dropped, "disturbed": rounds.is_disturbed},
            "samples": {
                "ours_ms": [_round(sample.seconds * 1e3) for sample in rounds.ours],
                "pytorch_ms": [_round(sample.seconds * 1e3) for sample in rounds.theirs],
            },
        }

    def _agreement(self, problem: Problem, ours: Call, theirs: Call) -> float:
        difference = relative_difference(ours(), theirs())
        limit = agreement_limit(problem)
        if not difference <= limit:
            raise Disagreement(f"results differ by {difference:.2g} (relative), expected at most {limit:g}")
        return difference

    def _extra_bytes(self, problem: Problem, call: Call) -> int | None:
        return peak_extra_bytes(call, self.device, problem.result_bytes)

    def _replay(self, problem: Problem) -> str:
        words = ["longconv", "bench", "--device", self.device.type]
        if self.device.type == "cpu":
            words += ["--threads", str(torch.get_num_threads()), "--huge-pages", environment.huge_pages()]
            words += ["--clock", "cpu"] if self.clock_name == "cpu" else []
        elif not self.flush_l2:
            words += ["--no-flush-l2"]
        return shlex.join([*words, "--replay", str(problem)])


def _times(samples: list[Sample]) -> Times:
    summary = stats.summarize([sample.seconds * 1e3 for sample in samples])
    return {
        "median": _round(summary.median),
        "min": _round(summary.minimum),
        "q1": _round(summary.first_quartile),
        "q3": _round(summary.third_quartile),
        "host": _round(statistics.median(sample.host_seconds * 1e3 for sample in samples)),
    }


def _round(value: float) -> float:
    """Six significant digits: more than any timing has, few enough to read."""
    return float(f"{value:.6g}") if math.isfinite(value) else value
