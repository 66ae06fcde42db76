# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Compiles the kernels of a run in parallel processes, before anything is timed."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Sequence

import torch

from longconv.bench import planner
from longconv.bench.problem import Problem

Task = tuple[str, str, int]  # problem, device, candidate


def run(problems: Sequence[Problem], device: torch.device, all_configs: bool, processes: int) -> int:
    """The number of kernels that were compiled. What cannot be compiled shows when it is measured."""
    tasks = [task for problem in problems for task in tasks_of(problem, device, all_configs)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.imap_unordered(_compile, tasks))


def tasks_of(problem: Problem, device: torch.device, all_configs: bool) -> list[Task]:
    """One for each candidate that will be launched."""
    numbers = [0]
    if all_configs:
        with contextlib.suppress(RuntimeError, ValueError):
            numbers = [entry.number for entry in planner.candidates(planner.plan_text(problem, device))]
    return [(problem.library_form, planner.device_name(device), number) for number in numbers]


def _compile(task: Task) -> int:
    import os

    import longconv  # noqa: F401  (registers the operators)

    forced = os.environ.get(planner.FORCED_KERNEL, "")
    try:
        return int(torch.ops.longconv.compile_cuda_plan(task[0], task[1], forced, task[2]))
    except (RuntimeError, ValueError):
        return 0
