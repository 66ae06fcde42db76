# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The command ``longconv bench``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

import torch

from longconv.bench import case_files, environment, paired, summary, table
from longconv.bench import record as records_io
from longconv.bench.case_files import Case
from longconv.bench.measure import Bench
from longconv.bench.problem import DTYPE_BYTES, PASSES, PRECISIONS, Problem
from longconv.bench.record import Record

Selected = tuple[str, Case, Problem]  # name of the list, case, problem
HUGE_PAGES = ("as-it-comes", "on", "both")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``longconv bench``; every default is named in the help."""
    parser.epilog = f"Case lists that come with the package: {', '.join(case_files.available())}."
    budget = paired.Budget()
    shapes = parser.add_argument_group("what")
    add = shapes.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    add(
        "--cases",
        action="append",
        metavar="NAME|FILE",
        help="list of shapes, repeatable; default: judged_cpu, judged_gpu",
    )
    add("--filter", metavar="REGEX", help="only cases whose name contains this")
    add("--replay", action="append", metavar="PROBLEM", help="measure this one-line problem instead, repeatable")
    add("--passes", type=NameList(PASSES), default=list(PASSES), help="comma-separated; default: fprop,dgrad,wgrad")
    add("--dtypes", type=NameList(tuple(DTYPE_BYTES)), default=["f32"], help="comma-separated; default: f32")
    add("--precision", type=NameList(PRECISIONS), help="of f32, comma-separated; default: fp32, on CUDA fp32,tf32")
    add("--list", action="store_true", help="print the selected problems and stop")
    how = parser.add_argument_group("how")
    add = how.add_argument
    add("--threads", type=_positive_int, help="of both sides; default: PyTorch's")
    add("--clock", choices=("wall", "cpu"), default="wall", help="cpu: CPU time, for one thread on a busy machine")
    add(
        "--rounds",
        type=_positive_int,
        default=budget.least_rounds,
        help="undisturbed rounds, at least; default: %(default)s",
    )
    add(
        "--min-time",
        type=float,
        default=budget.least_seconds,
        metavar="S",
        help="and so long at least; default: %(default)s s",
    )
    add(
        "--max-time",
        type=float,
        default=budget.most_seconds,
        metavar="S",
        help="but so long at most; default: %(default)s s",
    )
    add("--huge-pages", choices=HUGE_PAGES, help="PyTorch's allocator on the CPU; default: both (replay: as-it-comes)")
    add("--no-flush-l2", action="store_true", help="CUDA: leave the operands in the cache between calls")
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
    precisions = options.precision or (["fp32", "tf32"] if on_cuda else ["fp32"])
    if "tf32" in precisions and not on_cuda:
        raise ValueError("--precision tf32 exists on CUDA only")
    selected = []
    for name in options.cases or ["judged_gpu" if on_cuda else "judged_cpu"]:
        for case in case_files.select(case_files.load(name), options.filter):
            for problem in case_files.problems(case, options.passes, options.dtypes, precisions):
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
    budget = paired.Budget(least_rounds=options.rounds, least_seconds=options.min_time, most_seconds=options.max_time)
    bench = Bench(torch.device(options.device), options.clock, not options.no_flush_l2, budget, commit=options.commit)
    for number, (cases_name, case, problem) in enumerate(selected, start=1):
        record = bench.run(cases_name, case, problem)
        pages = "" if bench.device.type == "cuda" else f" (huge pages {environment.huge_pages()})"
        print(f"[{number}/{len(selected)}]{pages} {table.progress_line(record)}", file=sys.stderr, flush=True)
        yield record


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
