# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The headline model beside torch.nn.Conv1d: same weights, same input, time, memory and agreement.

The input is made once; each side then runs in a process of its own, forked so that it shares the input's pages, and
its peak memory is what the kernel reports for that process.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Callable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from longconv import kernelbench
from longconv.demo import memory

__all__ = ["run"]

_SEED = 42
_ROUNDS = 4
_ENOUGH_SECONDS = 40.0
_REFERENCE_POSITIONS = 2048
"""Output positions per signal (of all output channels) that are recomputed in float64."""


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
        for row in tqdm(x, desc="   making the input", unit="signal", leave=False):
            row.uniform_()
        sides = (
            _Side("longconv", ours, x, signals, output_bytes, threads),
            _Side("torch.nn.Conv1d", theirs, x, theirs_at_once, output_bytes, threads),
        )
        _alternate(sides)
        comparison = _Child(_compare, ours, theirs, x, threads)
        agreement: _Agreement = comparison.receive()
        comparison.join()
    finally:
        torch.set_num_threads(threads)
    print(f"   {min(sides[1].seconds) / min(sides[0].seconds):.2f} times as fast. "
          f"Error against float64, relative RMS: longconv {agreement.ours_relative_rms_error:.1e}, "
          f"PyTorch {agreement.theirs_relative_rms_error:.1e}")  # fmt: skip
    print(f"   Agreement over all {agreement.elements:,} results: largest difference "
          f"{agreement.largest_difference:.1e} (largest value {agreement.largest_value:.2f}), "
          f"relative RMS {agreement.relative_rms_difference:.1e}")  # fmt: skip


def _choose_sizes(input_bytes: int, output_bytes: int, full: bool) -> tuple[int, int]:
    """(signals of the run, signals that torch.nn.Conv1d gets at once)."""
    available = memory.available_bytes()
    theirs_bytes = output_bytes + input_bytes  # of one signal: the result, and oneDNN's blocked copy of the input
    limit = int(0.9 * available - 0.5e9)
    if full:
        wanted = kernelbench.batch_size
    else:  # both sides in one go, in half of the memory
        wanted = int(0.5 * available) // (input_bytes + theirs_bytes)
        wanted -= wanted % 4 if wanted > 4 else 0
    signals = min(wanted, limit // (input_bytes + output_bytes), kernelbench.batch_size)
    if signals < 1:
        needed = (input_bytes + theirs_bytes) / 1e9
        raise MemoryError(f"one signal needs {needed:.1f} GB, {available / 1e9:.1f} GB are available")
    at_once = max(1, min(signals, (limit - signals * input_bytes) // theirs_bytes))
    batches = -(-signals // at_once)
    return signals, -(-signals // batches)


class _Side:
    """One model in a forked process, which sees the input without a copy and runs when told to."""

    def __init__(self, name: str, model: nn.Module, x: Tensor, at_once: int, output_bytes: int, threads: int) -> None:
        self.name = name
        self.batches = len(torch.split(x, at_once))
        self.seconds: list[float] = []
        self._output_bytes = at_once * output_bytes
        self._child = _Child(self._serve, model, x, at_once, threads)
        self._idle_bytes: int = self._child.receive()
        self._peak_bytes = 0

    @property
    def extra_bytes(self) -> int:
        """Peak memory above input and output."""
        return max(self._peak_bytes - self._idle_bytes - self._output_bytes, 0)

    def run_once(self) -> None:
        self._child.send(True)
        seconds, peak_bytes = self._child.receive()
        self.seconds.append(seconds)
        self._peak_bytes = max(self._peak_bytes, peak_bytes)

    def close(self) -> None:
        self._child.send(False)
        self._child.join()

    @staticmethod
    def _serve(channel: Connection, model: nn.Module, x: Tensor, at_once: int, threads: int) -> None:
        torch.set_num_threads(threads)
        batches = torch.split(x, at_once)
        with torch.inference_mode():
            model(x[:1, :, : x.shape[2] // 64])  # starts the threads
            channel.send(memory.resident_bytes())
            memory.reset_peak()
            while channel.recv():
                start = time.perf_counter()
                for batch in batches:
                    model(batch)
                channel.send((time.perf_counter() - start, memory.peak_resident_bytes()))


class _Child:
    """A forked process that runs work(channel, *arguments)."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("fork")
        self._channel, other_end = context.Pipe()
        self._process = context.Process(target=self._run, args=(work, other_end, *arguments), daemon=True)
        self._process.start()
        other_end.close()
        self.send = self._channel.send
        self.join = self._process.join

    @staticmethod
    def _run(work: Callable[..., None], *arguments: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
        work(*arguments)

    def receive(self) -> Any:
        try:
            return self._channel.recv()
        except EOFError:
            self.join()
            raise MemoryError(f"a measuring process ended with status {self._process.exitcode}") from None


def _alternate(sides: tuple[_Side, _Side]) -> None:
    """Both sides by turns, so that a busy machine burdens both alike; then what came of it."""
    turns = [side for _ in range(_ROUNDS) for side in sides]
    with tqdm(turns, desc="   measuring by turns", unit="run", leave=False) as bar:
        for side in bar:
            if side is sides[0] and sum(sum(s.seconds) for s in sides) > _ENOUGH_SECONDS:
                break
            side.run_once()
    for side in sides:
        side.close()
        runs = len(side.seconds)
        how = (f"best of {runs}" if runs > 1 else "one run") + (
            f", in {side.batches} batches" if side.batches > 1 else ""
        )
        print(f"   {side.name:16} {min(side.seconds):7.2f} s ({how}), peak memory above input and output "
              f"{side.extra_bytes / 1e6:8,.0f} MB")  # fmt: skip


def _compare(channel: Connection, ours: nn.Module, theirs: nn.Module, x: Tensor, threads: int) -> None:
    """Every result of both, and a sample of each against float64."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(_SEED)
    largest_difference = largest_value = 0.0
    squares = dict.fromkeys(("difference", "theirs", "reference", "ours_error", "theirs_error"), 0.0)
    elements = 0
    with torch.inference_mode():
        for one in tqdm(torch.split(x, 1), desc="   comparing", unit="signal", leave=False):
            y_ours, y_theirs = ours(one)[0], theirs(one)[0]
            difference = y_ours - y_theirs
            largest_difference = max(largest_difference, difference.abs().max().item())
            largest_value = max(largest_value, y_theirs.abs().max().item())
            squares["difference"] += difference.norm().item() ** 2
            squares["theirs"] += y_theirs.norm().item() ** 2
            elements += y_ours.numel()
            positions = torch.randint(y_ours.shape[1], (_REFERENCE_POSITIONS,), generator=generator)
            reference = _reference(theirs, one[0], positions)
            squares["reference"] += reference.norm().item() ** 2
            squares["ours_error"] += (y_ours[:, positions] - reference).norm().item() ** 2
            squares["theirs_error"] += (y_theirs[:, positions] - reference).norm().item() ** 2
    root = {name: value**0.5 for name, value in squares.items()}
    agreement = _Agreement(
        largest_difference,
        largest_value,
        root["difference"] / root["theirs"],
        root["ours_error"] / root["reference"],
        root["theirs_error"] / root["reference"],
        elements,
    )
    channel.send(agreement)


def _reference(model: nn.Module, x: Tensor, positions: Tensor) -> Tensor:
    """Results at output `positions` in float64: (in_channels, length) to (out_channels, positions)."""
    assert isinstance(model, nn.Conv1d)
    taps = torch.arange(model.kernel_size[0]) * model.dilation[0]
    windows = x[:, positions[:, None] * model.stride[0] + taps].double()
    return torch.einsum("oik,itk->ot", model.weight.double(), windows)
