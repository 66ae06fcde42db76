# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The headline model beside torch.nn.Conv1d: same weights, same input, time, memory and agreement.

The input is made once; each side then runs in a process of its own, forked so that it shares the input's pages, and
its peak memory is what the kernel reports for that process.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from longconv import kernelbench
from longconv.demo import memory

__all__ = ["run"]

_SEED = 42
_RUNS = 3
_ENOUGH_SECONDS = 20.0
_REFERENCE_POSITIONS = 2048
"""Output positions per signal (of all output channels) that are recomputed in float64."""


@dataclass
class _Side:
    """What one side's process reports."""

    seconds: float
    runs: int
    batches: int
    extra_bytes: int
    """Peak memory above input and output."""


@dataclass
class _Agreement:
    largest_difference: float
    largest_value: float
    relative_rms_difference: float
    ours_relative_rms_error: float
    theirs_relative_rms_error: float
    elements: int


def run(full: bool = False) -> None:
    """Run and print; raises MemoryError where not even one signal fits."""
    in_channels, out_channels, kernel_size, stride, dilation = kernelbench.get_init_inputs()
    length = kernelbench.length
    length_out = (length - dilation * (kernel_size - 1) - 1) // stride + 1
    input_bytes = 4 * in_channels * length
    output_bytes = 4 * out_channels * length_out
    signals, theirs_at_once = _choose_sizes(input_bytes, output_bytes, full)

    print(f"\n1. The headline: ModelNew({in_channels}, {out_channels}, {kernel_size}, stride={stride}, "
          f"dilation={dilation}) on input ({signals}, {in_channels}, {length}), float32")  # fmt: skip
    print(f"   {signals} of {kernelbench.batch_size} signals: {signals * input_bytes / 1e9:.1f} GB in, "
          f"{signals * output_bytes / 1e9:.1f} GB out, {memory.available_bytes() / 1e9:.1f} GB of memory available"
          + ("" if full or signals == kernelbench.batch_size else "; FULL=1 (--full) takes all that fit"))  # fmt: skip
    if theirs_at_once < signals:
        print(f"   torch.nn.Conv1d would not fit in one go: it gets batches of {theirs_at_once}")

    torch.manual_seed(_SEED)
    ours: nn.Module = kernelbench.ModelNew(in_channels, out_channels, kernel_size, stride, dilation)
    theirs: nn.Module = nn.Conv1d(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, bias=False)
    theirs.load_state_dict({name.replace("conv1d.", ""): value for name, value in ours.state_dict().items()})

    # Forked children need a parent that never started PyTorch's threads.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        x = torch.empty(signals, in_channels, length)
        for signal in tqdm(x, desc="   making the input", unit="signal", leave=False):
            signal.uniform_()
        sides = {}
        for name, model, at_once in (("ours", ours, signals), ("theirs", theirs, theirs_at_once)):
            sides[name] = _in_child(_measure, model, x, at_once, output_bytes, threads)
            _print_side({"ours": "longconv", "theirs": "torch.nn.Conv1d"}[name], sides[name])
        agreement = _in_child(_compare, ours, theirs, x, threads)
    finally:
        torch.set_num_threads(threads)
    print(f"   {sides['theirs'].seconds / sides['ours'].seconds:.2f} times as fast. "
          f"Error against float64, relative RMS: longconv {agreement.ours_relative_rms_error:.1e}, "
          f"PyTorch {agreement.theirs_relative_rms_error:.1e}")  # fmt: skip
    print(f"   Agreement over all {agreement.elements:,} results: largest difference "
          f"{agreement.largest_difference:.1e} (largest value {agreement.largest_value:.2f}), "
          f"relative RMS {agreement.relative_rms_difference:.1e}")  # fmt: skip


def _choose_sizes(input_bytes: int, output_bytes: int, full: bool) -> tuple[int, int]:
    """(signals of the run, signals that torch.nn.Conv1d gets at once)."""
    available = memory.available_bytes()
    data_bytes = input_bytes + output_bytes
    theirs_extra_bytes = data_bytes  # oneDNN's blocked copies of input and output
    fit = int(0.9 * available - 0.5e9) // data_bytes
    # By default both sides fit in one go, in half of the memory.
    wanted = kernelbench.batch_size if full else int(0.5 * available) // (data_bytes + theirs_extra_bytes)
    signals = min(wanted, fit, kernelbench.batch_size)
    if signals < 1:
        raise MemoryError(
            f"one signal needs {(data_bytes + theirs_extra_bytes) / 1e9:.1f} GB, {available / 1e9:.1f} GB are available"
        )
    spare = int(0.9 * available - 0.5e9) - signals * data_bytes
    return signals, max(1, min(signals, spare // (data_bytes + theirs_extra_bytes)))


def _in_child(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of work(*arguments) in a forked process."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(work(*arguments)))
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        child.join()
        raise MemoryError(f"the process that ran {work.__name__} ended with status {child.exitcode}") from None
    finally:
        child.join()


def _measure(model: nn.Module, x: Tensor, at_once: int, output_bytes: int, threads: int) -> _Side:
    torch.set_num_threads(threads)
    batches = torch.split(x, at_once)
    with torch.inference_mode():
        model(x[:1, :, : x.shape[2] // 64])  # starts the threads
        before = memory.resident_bytes()
        memory.reset_peak()
        seconds: list[float] = []
        while len(seconds) < _RUNS and sum(seconds) < _ENOUGH_SECONDS:
            start = time.perf_counter()
            for batch in batches:
                model(batch)
            seconds.append(time.perf_counter() - start)
    extra = memory.peak_resident_bytes() - before - at_once * output_bytes
    return _Side(statistics.median(seconds), len(seconds), len(batches), max(extra, 0))


def _print_side(name: str, side: _Side) -> None:
    how = f"median of {side.runs}" + (f", in {side.batches} batches" if side.batches > 1 else "")
    print(f"   {name:16} {side.seconds:7.2f} s ({how}), peak memory above input and output "
          f"{side.extra_bytes / 1e6:8,.0f} MB")  # fmt: skip


def _compare(ours: nn.Module, theirs: nn.Module, x: Tensor, threads: int) -> _Agreement:
    """Every result of both, and a sample of each against float64."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(_SEED)
    largest_difference = largest_value = 0.0
    squares = dict.fromkeys(("difference", "theirs", "reference", "ours_error", "theirs_error"), 0.0)
    elements = 0
    with torch.inference_mode():
        for signal in tqdm(torch.split(x, 1), desc="   comparing", unit="signal", leave=False):
            y_ours, y_theirs = ours(signal)[0], theirs(signal)[0]
            difference = y_ours - y_theirs
            largest_difference = max(largest_difference, difference.abs().max().item())
            largest_value = max(largest_value, y_theirs.abs().max().item())
            squares["difference"] += difference.norm().item() ** 2
            squares["theirs"] += y_theirs.norm().item() ** 2
            elements += y_ours.numel()
            positions = torch.randint(y_ours.shape[1], (_REFERENCE_POSITIONS,), generator=generator)
            reference = _reference(theirs, signal[0], positions)
            squares["reference"] += reference.norm().item() ** 2
            squares["ours_error"] += (y_ours[:, positions] - reference).norm().item() ** 2
            squares["theirs_error"] += (y_theirs[:, positions] - reference).norm().item() ** 2
    root = {name: value**0.5 for name, value in squares.items()}
    return _Agreement(
        largest_difference,
        largest_value,
        root["difference"] / root["theirs"],
        root["ours_error"] / root["reference"],
        root["theirs_error"] / root["reference"],
        elements,
    )


def _reference(model: nn.Module, x: Tensor, positions: Tensor) -> Tensor:
    """Results at output `positions` in float64: (in_channels, length) to (out_channels, positions)."""
    assert isinstance(model, nn.Conv1d)
    taps = torch.arange(model.kernel_size[0]) * model.dilation[0]
    windows = x[:, positions[:, None] * model.stride[0] + taps].double()
    return torch.einsum("oik,itk->ot", model.weight.double(), windows)
