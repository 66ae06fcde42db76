# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""One timed sample: how long a call takes on the CPU or on the current CUDA stream.

A sample is ``calls`` calls in a row, each returning fresh tensors. Results are released after the clock has stopped, on
both sides alike: the cost of giving memory back is not part of an operator.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import time
from typing import Any, Callable, Protocol

import torch

Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Sample:
    """Time of one call (mean over the sample's calls)."""

    seconds: float
    host_seconds: float  # until the call returned to Python; equals `seconds` on the CPU
    waited_seconds: float  # during the whole sample, time in which a thread of ours wanted a core and had none
    is_preempted: bool


class Clock(Protocol):
    def sample(self, call: Call, calls: int) -> Sample: ...


class CpuClock:
    """Wall time, or with ``cpu_time`` the process's CPU time (meaningful with one thread only).

    The kernel counts for each thread how long it was runnable without running (``/proc/self/task/*/schedstat``). A
    wall-time sample in which a thread waited longer than `WAIT_SHARE` of the sample (or than `WAIT_FLOOR_SECONDS`) is
    marked as preempted. The mark depends on the scheduler alone, never on how long the sample took.
    """

    WAIT_SHARE = 0.02
    WAIT_FLOOR_SECONDS = 100e-6

    def __init__(self, cpu_time: bool = False) -> None:
        self._now = time.process_time_ns if cpu_time else time.perf_counter_ns
        self._ignores_waiting = cpu_time

    def sample(self, call: Call, calls: int) -> Sample:
        results: list[Any] = [None] * calls
        waited_before = _waited_ns()
        start = self._now()
        for index in range(calls):
            results[index] = call()
        elapsed = (self._now() - start) * 1e-9
        waited_after = _waited_ns()
        results.clear()
        waited = max((ns - waited_before.get(task, 0) for task, ns in waited_after.items()), default=0) * 1e-9
        allowed = max(self.WAIT_SHARE * elapsed, self.WAIT_FLOOR_SECONDS)
        seconds = elapsed / calls
        return Sample(seconds, seconds, waited, not self._ignores_waiting and waited > allowed)


def _waited_ns() -> dict[str, int]:
    """Nanoseconds that each thread of this process has waited for a core; empty where the kernel does not say."""
    waited = {}
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/schedstat", encoding="ascii") as file:
                waited[task] = int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return {}
    return waited


class CudaClock:
    """Events on the current stream. With ``flush_l2`` a buffer larger than the cache is read before each call, so that
    operands come from device memory as they would in a network (read, not written: dirty lines would be written back
    on the call's time); it also keeps the device busy while the host queues the call, so that short kernels are not
    charged for the host's latency.
    """

    FLUSH_FACTOR = 4

    def __init__(self, device: torch.device, flush_l2: bool = True) -> None:
        self._device = device
        self._event: Any = torch.cuda.Event
        self._flush: torch.Tensor | None = None
        if flush_l2:
            cache_bytes = int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)) or (64 << 20)
            self._flush = torch.zeros(self.FLUSH_FACTOR * cache_bytes // 4, dtype=torch.int32, device=device)

    def sample(self, call: Call, calls: int) -> Sample:
        seconds = 0.0
        host_seconds = 0.0
        for _ in range(calls):
            start = self._event(enable_timing=True)
            end = self._event(enable_timing=True)
            if self._flush is not None:
                torch.amax(self._flush, 0)
            start.record()
            host_start = time.perf_counter_ns()
            result = call()
            host_seconds += (time.perf_counter_ns() - host_start) * 1e-9
            end.record()
            torch.cuda.synchronize(self._device)
            seconds += start.elapsed_time(end) * 1e-3
            del result
        return Sample(seconds / calls, host_seconds / calls, 0.0, False)


class HostClock:
    """CUDA: the host's time until an asynchronous call returns. The device is given time to catch up in between, so
    that no call waits for room in its queue.
    """

    CALLS_IN_FLIGHT = 100

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def sample(self, call: Call, calls: int) -> Sample:
        elapsed = 0.0
        for first in range(0, calls, self.CALLS_IN_FLIGHT):
            results: list[Any] = [None] * min(self.CALLS_IN_FLIGHT, calls - first)
            torch.cuda.synchronize(self._device)
            start = time.perf_counter_ns()
            for index in range(len(results)):
                results[index] = call()
            elapsed += (time.perf_counter_ns() - start) * 1e-9
            torch.cuda.synchronize(self._device)
            results.clear()
        return Sample(elapsed / calls, elapsed / calls, 0.0, False)


def peak_extra_bytes(call: Call, device: torch.device, result_bytes: int) -> int | None:
    """Most memory in use during one call beyond what was in use before it and its own result.

    CUDA: PyTorch's allocator statistics. CPU (Linux): the high-water mark of resident memory, after the heap has
    returned what it can; None where the kernel does not offer it.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = call()
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device)
        del result
        return max(0, peak - before - result_bytes)
    _trim_heap()
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the high-water mark
        before = _status_bytes("VmRSS")
        result = call()
        peak = _status_bytes("VmHWM")
    except (OSError, KeyError):
        return None
    del result
    return max(0, peak - before - result_bytes)


def _trim_heap() -> None:
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status_bytes(key: str) -> int:
    for line in pathlib.Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)
