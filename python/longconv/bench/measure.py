# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Measures one problem: agreement first, then time, then memory; the result is a record."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import shlex
import statistics
import time
from typing import Callable

import torch

from longconv.bench import accuracy, environment, paired, planner, stats
from longconv.bench.case_files import Case
from longconv.bench.clocks import Call, Clock, CpuClock, CudaClock, HostClock, Sample, peak_extra_bytes
from longconv.bench.operands import (
    Engine,
    Operands,
    agreement_limit,
    longconv_engine,
    make_operands,
    pytorch_engine,
    relative_difference,
)
from longconv.bench.problem import Problem
from longconv.bench.record import SCHEMA, Numbers, Record, Times
from longconv.bench.roofline import RooflineMeter, matmul_precision

_COPIES = 9  # the first two warm up


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
    all_configs: bool = False  # CUDA: time what the planner did not choose, too
    first_calls: bool = False  # CUDA: note the first call's time (the kernel cache must be empty)
    plan: Callable[[Problem, torch.device], str | None] = environment.plan_line

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            self.clock_name = "host" if self.clock_name == "host" else "cuda-events"
        elif self.clock_name == "host":
            raise ValueError("the host's time of an asynchronous call is of interest on CUDA only")
        elif self.clock_name == "cpu" and torch.get_num_threads() != 1:
            raise ValueError(f"CPU time is a measure of one thread only, got {torch.get_num_threads()} threads")
        device_clock: Clock = (
            CudaClock(self.device, self.flush_l2) if self.device.type == "cuda" else CpuClock(self.clock_name == "cpu")
        )
        self.clock: Clock = HostClock(self.device) if self.clock_name == "host" else device_clock
        self.device_clock = device_clock
        self.meter = RooflineMeter(self.device, device_clock, self.budget.most_seconds)
        if self.first_calls:  # the compiler is loaded once in a process, and that is no part of a shape's first call
            with contextlib.suppress(RuntimeError, NotImplementedError), torch.no_grad():
                tiny = Problem.parse("fprop n1 c2->3 l64 k2")
                self.ours(tiny, make_operands(tiny, self.device))()
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
            "forced_kernel": environment.forced_kernel(self.device),
            "replay": self._replay(problem),
            "numbers": numbers,
            "error": error,
        }

    def _measure(self, problem: Problem) -> Numbers:
        operands = make_operands(problem, self.device)
        ours, theirs = self.ours(problem, operands), self.theirs(problem, operands)
        first_call = self._first_call(ours) if self.first_calls else None
        difference, error_ours, error_theirs = self._agreement(problem, operands, ours, theirs)
        rounds = paired.run(ours, theirs, self.clock, self.budget)
        extra_ours, extra_theirs = self._extra_bytes(problem, ours), self._extra_bytes(problem, theirs)
        copy = self._copy_seconds(problem)
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
            "error_ours": error_ours,
            "error_pytorch": error_theirs,
            "copy_ms": None if copy is None else _round(copy * 1e3),
            "first_call_ms": None if first_call is None else _round(first_call * 1e3),
            "planner": planner.compare(problem, self.device, ours, self.device_clock) if self.all_configs else None,
            "rounds": {"total": len(rounds.ours), "dropped": rounds.dropped, "disturbed": rounds.is_disturbed},
            "samples": {
                "ours_ms": [_round(sample.seconds * 1e3) for sample in rounds.ours],
                "pytorch_ms": [_round(sample.seconds * 1e3) for sample in rounds.theirs],
            },
        }

    def _agreement(
        self, problem: Problem, operands: Operands, ours: Call, theirs: Call
    ) -> tuple[float, float | None, float | None]:
        """The difference between both results, and the error of each. A difference that is PyTorch's error is none of ours."""
        mine, other = ours(), theirs()
        difference = relative_difference(mine, other)
        limit = agreement_limit(problem)
        errors = [accuracy.relative_rms_error(problem, operands, result) for result in (mine, other)]
        if not difference <= limit:
            known = errors[0] is not None and errors[1] is not None
            if not (known and errors[0] <= limit / 2 and errors[1] >= difference / 2):  # type: ignore[operator]
                raise Disagreement(
                    f"results differ by {difference:.2g} (relative), expected at most {limit:g}"
                    + (f"; from float64 ours by {errors[0]:.2g}, PyTorch's by {errors[1]:.2g}" if known else "")
                )
        return difference, *(None if error is None else _round(error) for error in errors)  # type: ignore[return-value]

    def _first_call(self, call: Call) -> float:
        torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        call()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - start

    def _copy_seconds(self, problem: Problem) -> float | None:
        """CUDA: what a copy of half the compulsory bytes takes, which reads and writes all of them."""
        if self.device.type != "cuda":
            return None
        source = torch.ones(max(1, int(problem.compulsory_bytes) // 2), dtype=torch.int8, device=self.device)
        target = torch.empty_like(source)
        samples = [self.device_clock.sample(lambda: target.copy_(source), 1).seconds for _ in range(_COPIES)]
        return statistics.median(samples[2:])

    def _extra_bytes(self, problem: Problem, call: Call) -> int | None:
        return peak_extra_bytes(call, self.device, problem.result_bytes)

    def _replay(self, problem: Problem) -> str:
        words = ["longconv", "bench", "--device", self.device.type]
        if self.device.type == "cpu":
            words += ["--threads", str(torch.get_num_threads()), "--huge-pages", environment.huge_pages()]
            words += ["--clock", "cpu"] if self.clock_name == "cpu" else []
        elif not self.flush_l2:
            words += ["--no-flush-l2"]
        if self.clock_name == "host":
            words += ["--clock", "host"]
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
