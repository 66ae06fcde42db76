# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The command ``longconv``, also ``python -m longconv``.

Exit status: 0 done, 1 it ran and failed, 2 the command line was not understood.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import longconv
from longconv import bench, demo, eject

__all__ = ["main"]

_PLAN_HELP = """\
A problem is one line of words in any order; what is left out is 1, 0 or the first of its kind:

  fprop | dgrad | wgrad     the pass: result, data gradient, weight gradient
  n64                       batch
  c64->128                  input and output channels
  l524280                   length in samples
  k3 s3 d4 g1               kernel size, stride, dilation, groups
  p4 | p(8,0)               padding at both ends, or (left, right)
  f32 f64 bf16 f16 c64 c128 i64
  zeros | reflect | replicate | circular
  bias residual relu leaky_relu(0.2) gelu gelu_tanh silu tanh sigmoid

example: longconv plan "fprop n64 c64->128 l524280 k3 s3 d4 f32"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` by default); returns the exit status."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:  # argparse printed why
        return int(end.code or 0)
    try:
        status: int = options.run(options)
        return status
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        print("longconv: interrupted", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longconv", description="1-D convolution over long signals, a drop-in for torch.nn.Conv1d."
    )
    parser.add_argument("--version", action="version", version=f"longconv {longconv.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    plan = commands.add_parser(
        "plan",
        help="print how a problem will be computed, and why",
        description="Print the kernel that a problem gets, what it costs, the runners-up, and why others cannot do it.",
        epilog=_PLAN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.add_argument("problem", nargs="+", metavar="PROBLEM", help="the problem, see below; quote the '>'")
    plan.add_argument("--threads", type=_threads, default=0, metavar="N", help="plan for N threads (PyTorch's number)")
    plan.set_defaults(run=_plan)

    doctor = commands.add_parser(
        "doctor",
        help="print versions, build, machine, and test the library on a small problem",
        description="Print versions, build and machine, and test the library on a small problem. Exit status 1 if the "
        "test fails.",
    )
    doctor.set_defaults(run=_doctor)

    for name, module, text in (
        ("bench", bench, "time longconv and PyTorch side by side on the judged shapes"),
        ("demo", demo, "the headline model beside PyTorch's, and a picture of a real recording"),
        ("eject", eject, "write one layer as one Python file with CUDA source, which needs no longconv"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _threads(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, but got {count}")
    return count


def _plan(options: argparse.Namespace) -> int:
    try:
        print(longconv.plan(" ".join(options.problem), options.threads).rstrip())
    except ValueError as error:  # no problem
        print(f"longconv plan: {_first_line(error)}\n\n{_PLAN_HELP}", file=sys.stderr, end="")
        return 2
    except (RuntimeError, NotImplementedError) as error:  # a problem that has no solution
        print(f"longconv plan: {_first_line(error)}", file=sys.stderr)
        return 1
    return 0


def _first_line(error: Exception) -> str:
    """The message without the C++ back trace that debug builds of PyTorch append."""
    return str(error).partition("\nException raised from")[0]


def _doctor(options: argparse.Namespace) -> int:
    from longconv.doctor import examine

    healthy = True
    for finding in examine():
        print(finding, flush=True)
        healthy = healthy and finding.ok
    if not healthy:
        print("longconv doctor: the library does not work here; please report the lines above", file=sys.stderr)
    return 0 if healthy else 1
