# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The command ``longconv bench``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

import torch

from longconv.bench import case_files, environment, paired, precompile, summary, table
from longconv.bench import record as records_io
from longconv.bench.case_files import Case
from longconv.bench.measure import Bench
from longconv.bench.problem import DTYPE_BYTES, PASSES, PRECISIONS, Problem
from longconv.bench.record import Record

Selected = tuple[str, Case, Problem]  # name of the list, case, problem
HUGE_PAGES = ("as-it-comes", "on", "both")
BUDGETS = {
    "cpu": paired.Budget(),
    "cuda": paired.Budget(least_rounds=7, least_seconds=0.25, most_seconds=3.0, hopeless_seconds=12.0),
}
KERNEL_CACHE = "LONGCONV_CACHE_DIR"
QUICK = {"least_rounds": 3, "least_seconds": 0.0, "most_seconds": 1.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``longconv bench``; every default is named in the help."""
    parser.epilog = f"Case lists that come with the package: {', '.join(case_files.available())}."
    shapes = parser.add_argument_group("what")
    add = shapes.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    add(
        "--cases",
        action="append",
        metavar="NAME|FILE",
        help="list of shapes, repeatable; default: judged_cpu, judged_gpu",
    )
    add("--filter", "--only", metavar="REGEX", help="only cases whose name contains this")
    add("--replay", action="append", metavar="PROBLEM", help="measure this one-line problem instead, repeatable")
    add("--passes", type=NameList(PASSES), help="comma-separated; default: all of a case's, on CUDA fprop,transposed")
    add("--dtypes", type=NameList(tuple(DTYPE_BYTES)), default=["f32"], help="comma-separated; default: f32")
    add("--precision", type=NameList(PRECISIONS), help="of f32, comma-separated; default: fp32, on CUDA fp32,tf32")
    add("--list", action="store_true", help="print the selected problems and stop")
    how = parser.add_argument_group("how")
    add = how.add_argument
    add("--threads", type=_positive_int, help="of both sides; default: PyTorch's")
    add(
        "--clock",
        choices=("wall", "cpu", "host"),
        default="wall",
        help="cpu: CPU time, for one thread on a busy machine; host: CUDA, until the call returns; default: wall, "
        "on CUDA events",
    )
    for name, field, what in (
        ("--rounds", "least_rounds", "undisturbed rounds, at least"),
        ("--min-time", "least_seconds", "and so many seconds at least"),
        ("--max-time", "most_seconds", "but so many seconds at most"),
    ):
        default = f"{getattr(BUDGETS['cpu'], field):g}, on CUDA {getattr(BUDGETS['cuda'], field):g}"
        kind = _positive_int if field == "least_rounds" else float
        add(name, type=kind, dest=field, metavar="N", help=f"{what}; default: {default}")
    add("--quick", action="store_true", help="a few rounds of each, to see that all works")
    add("--huge-pages", choices=HUGE_PAGES, help="PyTorch's allocator on the CPU; default: both (replay: as-it-comes)")
    add("--no-flush-l2", action="store_true", help="CUDA: leave the operands in the cache between calls")
    add(
        "--configs",
        action="store_true",
        help="CUDA: time every config of the chosen kernel, and each other kernel's best",
    )
    add(
        "--first-call",
        action="store_true",
        help="CUDA: begin with an empty kernel cache and note each first call's time",
    )
    add("--precompile", type=_positive_int, metavar="N", help="CUDA: compile all kernels in N processes beforehand")
    output = parser.add_argument_group("output")
    add = output.add_argument
    add("--json", type=pathlib.Path, metavar="FILE", help="one JSON line for each measurement")
    add("--commit", metavar="HASH", help="what is measured, where the sources came without their git history")
    add("--plot", type=pathlib.Path, metavar="FILE.png", help="ratios and roofline as a picture")


def run(options: argparse.Namespace) -> int:
    """The exit status: 0, 1 if a problem could not be measured (its error is in the output), 2 for bad options."""
    records: list[Record] = []
    try:
        selected = _select(options)
        if options.plot is not None:
            _check_plot_is_possible()
        if options.device == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"--device cuda, but PyTorch {torch.__version__} finds no CUDA device")
        if options.list:
            print("\n".join(f"{case.name}: {problem}" for _, case, problem in selected))
            return 0
        with _kernel_cache(options):
            if options.precompile is not None:
                problems = [problem for _, _, problem in selected]
                count = precompile.run(problems, torch.device(options.device), options.configs, options.precompile)
                print(f"{count} kernels compiled", file=sys.stderr, flush=True)
            for record in _measure(options, selected):
                records.append(record)
                if options.json is not None:  # after each one: a long run that is cut off keeps what it has
                    records_io.write(options.json, records)
    except (OSError, ValueError) as error:
        print(f"longconv bench: {error}", file=sys.stderr)
        return 2
    print(table.render(records))
    if options.plot is not None and summary.measured(records):
        from longconv.bench import plot

        plot.draw(records, options.plot)
    return int(any(record["error"] for record in records))


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m longconv.bench``: as ``longconv bench``."""
    parser = argparse.ArgumentParser(prog="python -m longconv.bench")
    add_arguments(parser)
    return run(parser.parse_args(arguments))


@contextlib.contextmanager
def _kernel_cache(options: argparse.Namespace) -> Iterator[None]:
    """With --first-call an empty one, for as long as the run lasts. It is read when the first kernel is asked for."""
    if not options.first_call:
        yield
        return
    before = os.environ.get(KERNEL_CACHE)
    folder = tempfile.mkdtemp(prefix="longconv-bench-")
    os.environ[KERNEL_CACHE] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ[KERNEL_CACHE]
        else:
            os.environ[KERNEL_CACHE] = before


def _measure(options: argparse.Namespace, selected: list[Selected]) -> Iterator[Record]:
    for huge_pages in _huge_page_modes(options):
        if options.device == "cpu" and huge_pages != environment.huge_pages():
            yield from _measure_in_child(options, selected, huge_pages)
        else:
            yield from _measure_here(options, selected)


def _select(options: argparse.Namespace) -> list[Selected]:
    """In the order of measuring."""
    if options.replay:
        problems = [Problem.parse(text) for text in options.replay]
        return [("replay", Case(p.in_pass("fprop").shape, "replayed problem", p), p) for p in problems]
    on_cuda = options.device == "cuda"
    if not on_cuda and (options.configs or options.first_call or options.precompile):
        raise ValueError("--configs, --first-call and --precompile are about kernels on CUDA")
    if options.first_call and options.precompile:
        raise ValueError("--first-call wants an empty kernel cache, --precompile fills it")
    passes = options.passes or (["fprop", "transposed"] if on_cuda else list(PASSES))
    precisions = options.precision or (["fp32", "tf32"] if on_cuda else ["fp32"])
    if "tf32" in precisions and not on_cuda:
        raise ValueError("--precision tf32 exists on CUDA only")
    selected = []
    for name in options.cases or ["judged_gpu" if on_cuda else "judged_cpu"]:
        for case in case_files.select(case_files.load(name), options.filter):
            for problem in case_files.problems(case, passes, options.dtypes, precisions):
                selected.append((pathlib.Path(name).stem, case, problem))
    if not selected:
        raise ValueError(f"nothing selected: no case matches --filter {options.filter!r} with these passes")
    return selected


def _huge_page_modes(options: argparse.Namespace) -> list[str]:
    if options.device == "cuda":
        return ["as-it-comes"]
    mode = options.huge_pages or ("as-it-comes" if options.replay else "both")
    return ["as-it-comes", "on"] if mode == "both" else [mode]


def _measure_here(options: argparse.Namespace, selected: list[Selected]) -> Iterator[Record]:
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    bench = Bench(
        torch.device(options.device),
        options.clock,
        not options.no_flush_l2,
        _budget(options),
        commit=options.commit,
        all_configs=options.configs,
        first_calls=options.first_call,
    )
    for number, (cases_name, case, problem) in enumerate(selected, start=1):
        record = bench.run(cases_name, case, problem)
        pages = "" if bench.device.type == "cuda" else f" (huge pages {environment.huge_pages()})"
        print(f"[{number}/{len(selected)}]{pages} {table.progress_line(record)}", file=sys.stderr, flush=True)
        yield record


def _budget(options: argparse.Namespace) -> paired.Budget:
    given = {name: getattr(options, name) for name in QUICK if getattr(options, name) is not None}
    return dataclasses.replace(BUDGETS[options.device], **{**(QUICK if options.quick else {}), **given})


def _measure_in_child(options: argparse.Namespace, selected: list[Selected], huge_pages: str) -> Iterator[Record]:
    """PyTorch reads the switch when a process starts, so the other setting needs a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send_records, args=(sender, options, selected))
    before = os.environ.get(environment.HUGE_PAGES_VARIABLE)
    os.environ[environment.HUGE_PAGES_VARIABLE] = "1" if huge_pages == "on" else "0"
    try:
        child.start()
    finally:
        if before is None:
            del os.environ[environment.HUGE_PAGES_VARIABLE]
        else:
            os.environ[environment.HUGE_PAGES_VARIABLE] = before
    sender.close()
    try:
        while True:
            yield receiver.recv()
    except EOFError:
        child.join()
    finally:
        if child.is_alive():  # this process was interrupted
            child.terminate()
    if child.exitcode != 0:
        raise OSError(f"the process with huge pages '{huge_pages}' ended with status {child.exitcode}")


def _send_records(sender: Connection, options: argparse.Namespace, selected: list[Selected]) -> None:
    for record in _measure_here(options, selected):
        sender.send(record)


def _check_plot_is_possible() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ValueError("--plot needs matplotlib: pip install 'longconv[bench]'") from None


class NameList:
    """argparse type: comma-separated names out of a known set."""

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def __call__(self, text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in self._known:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(self._known)}")
        return names


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value
