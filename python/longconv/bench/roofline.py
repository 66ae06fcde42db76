# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""What the machine can do, measured in the same run: device copy and matrix product.

A convolution needs at least max(compulsory bytes / copy rate, FLOPs / GEMM rate). Rates are the best of several
samples: they are ceilings. Buffers are touched beforehand, so a floor contains no page faults although the
operators, which return fresh tensors, pay for theirs.
"""

from __future__ import annotations

import dataclasses
import math
import time

import torch

from longconv.bench.clocks import Call, Clock
from longconv.bench.operands import TORCH_DTYPES
from longconv.bench.problem import Problem

_COPY_BYTES = {"cpu": 256 << 20, "cuda": 2 << 30}
_GEMM_SIZE = {"cpu": 2048, "cuda": 8192}
_LEAST_CLEAN_SAMPLES = 5


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Rates that apply to one (dtype, precision)."""

    copy_bytes_per_second: float
    gemm_flops_per_second: float | None  # None: no matrix product of this type; the floor is the bytes'

    def floor_seconds(self, problem: Problem) -> float:
        bytes_seconds = problem.compulsory_bytes / self.copy_bytes_per_second
        if self.gemm_flops_per_second is None:
            return bytes_seconds
        return max(bytes_seconds, problem.flops / self.gemm_flops_per_second)

    def bound(self, problem: Problem) -> str:
        """Which term is the larger: "bytes" or "flops"."""
        bytes_seconds = problem.compulsory_bytes / self.copy_bytes_per_second
        return "bytes" if self.floor_seconds(problem) == bytes_seconds else "flops"


class RooflineMeter:
    """Measures each rate once, when it is first asked for.

    The GEMM rate of a type is that of the fastest product of at least its accuracy: bf16 and f16 may be served by f32
    where the machine has nothing faster; on CUDA f32 may be served by three bf16 products (operand splitting), so that
    its ceiling is the larger of the f32 rate and a third of bf16's. Complex types use their real type (their FLOPs are
    counted as real operations).
    """

    def __init__(self, device: torch.device, clock: Clock, most_seconds: float = 10.0) -> None:
        self._device = device
        self._clock = clock
        self._most_seconds = most_seconds  # for one rate
        self._copy: float | None = None
        self._gemm: dict[str, float | None] = {}

    def roofline(self, dtype: str, precision: str) -> Roofline:
        return Roofline(self.copy_rate(), self.gemm_rate(dtype, precision))

    def copy_rate(self) -> float:
        """Bytes read plus bytes written per second of a copy much larger than the caches."""
        if self._copy is None:
            size = _COPY_BYTES[self._device.type]
            source = torch.ones(size, dtype=torch.int8, device=self._device).view(torch.float32)
            target = torch.zeros_like(source).copy_(source)
            self._copy = 2.0 * size / self._best_seconds(lambda: target.copy_(source))
        return self._copy

    def gemm_rate(self, dtype: str, precision: str) -> float | None:
        real = {"c64": "f32", "c128": "f64"}.get(dtype, dtype)
        if real == "i64":
            return None
        candidates = [self._measured(real, precision)]
        if real in ("bf16", "f16"):
            candidates.append(self._measured("f32", "fp32"))
        if real == "f32" and precision == "fp32" and self._device.type == "cuda":
            split = self._measured("bf16", "fp32")
            candidates.append(None if split is None else split / 3.0)
        return max((rate for rate in candidates if rate is not None), default=None)

    def _measured(self, dtype: str, precision: str) -> float | None:
        key = f"{dtype} {precision}"
        if key not in self._gemm:
            self._gemm[key] = self._measure_gemm(dtype, precision)
        return self._gemm[key]

    def _measure_gemm(self, dtype: str, precision: str) -> float | None:
        size = _GEMM_SIZE[self._device.type]
        if dtype == "f64":
            size //= 2
        try:
            a = torch.randn(size, size, device=self._device).to(TORCH_DTYPES[dtype])
            b = torch.randn(size, size, device=self._device).to(TORCH_DTYPES[dtype])
            product = torch.empty_like(a)
            with matmul_precision(precision):
                torch.mm(a, b, out=product)
                return 2.0 * size**3 / self._best_seconds(lambda: torch.mm(a, b, out=product))
        except RuntimeError:  # "addmm_impl_cpu_" not implemented for 'Half' (PyTorch 1.13)
            return None

    def _best_seconds(self, call: Call) -> float:
        """The least of some samples; while the machine is busy, of more of them."""
        best, clean = math.inf, 0
        start = time.perf_counter()
        while clean < _LEAST_CLEAN_SAMPLES:
            sample = self._clock.sample(call, 1)
            best = min(best, sample.seconds)
            clean += not sample.is_preempted
            if time.perf_counter() - start >= self._most_seconds:
                break
        return best


class matmul_precision:
    """Context: sets TF32 of matrix products and of cuDNN's convolutions to what `precision` allows, and back again."""

    def __init__(self, precision: str) -> None:
        self._allow = precision == "tf32"

    def __enter__(self) -> None:
        self._before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
        torch.backends.cuda.matmul.allow_tf32 = self._allow
        torch.backends.cudnn.allow_tf32 = self._allow

    def __exit__(self, *exception: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._before
