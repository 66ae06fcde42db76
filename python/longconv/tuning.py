# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""`tune`: measure the candidates of a problem's plan on a GPU, and remember the fastest."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from longconv._ops import plan
from longconv._progress import shown

__all__ = ["Measurement", "TuneReport", "tune"]


@dataclass(frozen=True)
class Measurement:
    """One candidate: a kernel and its parameters."""

    name: str
    estimated_seconds: float
    measured_seconds: float


@dataclass(frozen=True)
class TuneReport:
    """What :func:`tune` found. Prints itself."""

    problem: str
    device: str
    measurements: tuple[Measurement, ...]
    """Fastest first; those beyond twice the fastest were tried once only."""
    folder: str
    """Where the fastest is remembered; empty: only in this process."""

    @property
    def planned(self) -> Measurement:
        """What the planner chooses by its estimates alone."""
        return min(self.measurements, key=lambda m: m.estimated_seconds)

    def __str__(self) -> str:
        width = max(len(m.name) for m in self.measurements)
        lines = [
            f"problem  {self.problem} on {self.device}",
            f"  {'kernel and config':{width}}  estimate ms  measured ms  measured/estimate",
        ]
        for m in self.measurements:
            mark = "*" if m is self.measurements[0] else "p" if m is self.planned else " "
            lines.append(
                f"{mark} {m.name:{width}}  {m.estimated_seconds * 1e3:11.4g}  {m.measured_seconds * 1e3:11.4g}"
                f"  {m.measured_seconds / m.estimated_seconds:17.2f}"
            )
        best = self.measurements[0]
        gain = self.planned.measured_seconds / best.measured_seconds
        choice = "the planner's choice" if best is self.planned else f"{gain:.2f} x as fast as the planner's choice (p)"
        where = f"remembered in {self.folder}" if self.folder else "not kept: the cache's folder cannot be used"
        return "\n".join([*lines, f"fastest  {best.name}: {choice}; {where}"])


def tune(problem: str, device: str | torch.device = "cuda", *, progress: bool = False) -> TuneReport:
    """Measure every candidate of a problem's plan on a GPU of this machine, and remember the fastest on disk.

    From then on every process of this user that plans this very problem on this model of GPU takes it, unless the
    kernels have changed since; ``longconv plan`` shows it as "tuned". A process that had planned the problem before
    keeps its plan. Allocates the operands on the GPU, beside PyTorch's memory.

    Parameters
    ----------
    problem : str
        For example "fprop n64 c64->128 l524280 k3 s3 d4 f32 tf32".
    device : str or torch.device
        "cuda" or "cuda:1".
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    ValueError
        The problem, or the device, is not understood.
    RuntimeError
        No driver, GPU or run-time compiler; not enough memory for the operands.
    NotImplementedError
        No kernel does this problem there.
    """
    name = str(device)
    kind, _, index = name.partition(":")
    if kind != "cuda":
        raise ValueError(f"tune: expected a GPU of this machine, 'cuda' or 'cuda:1', but got '{name}'")
    plan(problem, device=name)  # what is wrong with either is said here, as the right type
    tuner = torch.classes.longconv.Tuner(problem, int(index or 0))
    steps = range(tuner.steps())
    for _ in shown(steps, "measuring", "run") if progress else steps:
        tuner.step()
    measurements = tuple(Measurement(*row) for row in tuner.results())
    return TuneReport(problem, name, measurements, tuner.remember())
