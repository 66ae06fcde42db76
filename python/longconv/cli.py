# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The command ``longconv``, also ``python -m longconv``.

Exit status: 0 done, 1 it ran and failed, 2 the command line was not understood.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

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
  tf32                      f32 multiplied as TF32, on GPUs
  bias residual relu leaky_relu(0.2) gelu gelu_tanh silu tanh sigmoid

example: longconv plan "fprop n64 c64->128 l524280 k3 s3 d4 f32" --device h100
"""


_WARMUP_HELP = """A MODEL is package.module:name, a module or something that makes one when it is called without arguments (a class, a
function). Its torch.nn.Conv1d are taken as longconv's. It is called once, without data, on the --input tensors:

  longconv warmup package.models:make_encoder --input 1x1x240000 --device h100
  longconv warmup package.models:make_encoder --input 1x1x240000:bfloat16

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
    plan.add_argument(
        "--device",
        default="cpu",
        help="cpu (the default); cuda or cuda:1, a GPU of this machine; or a model of GPU (h100, a100, l4, rtx4090, "
        "...), which need not be there",
    )
    plan.set_defaults(run=_plan)

    warmup = commands.add_parser(
        "warmup",
        help="compile the GPU kernels of problems or of a model before they are first called",
        description="Compile the GPU kernels of problems, or of a model's convolutions, into the cache on disk. For a "
        "model of GPU (--device h100) this needs neither a GPU nor a driver.",
        epilog=_WARMUP_HELP + _PLAN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    warmup.add_argument(
        "what", nargs="+", metavar="PROBLEM|MODEL", help="problems, each quoted; or one package.module:name"
    )
    warmup.add_argument("--input", action="append", default=[], metavar="SIZES[:DTYPE]", help="of a model, repeatable")
    warmup.add_argument(
        "--device", default="cuda", help="cuda (the default), cuda:1, or a model of GPU: h100, a100, ..."
    )
    warmup.set_defaults(run=_warmup)

    tune = commands.add_parser(
        "tune",
        help="measure a problem's candidates on a GPU, and remember the fastest",
        description="Measure every kernel and configuration that the planner lists for a problem on a GPU of this "
        "machine, print them, and remember the fastest on disk for the processes that come.",
        epilog=_PLAN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tune.add_argument("problems", nargs="+", metavar="PROBLEM", help="each quoted")
    tune.add_argument("--device", default="cuda", help="cuda (the default) or cuda:1")
    tune.set_defaults(run=_tune)

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
    return _said(
        "plan", lambda: longconv.plan(" ".join(options.problem), options.threads, options.device).rstrip(), _PLAN_HELP
    )


def _warmup(options: argparse.Namespace) -> int:
    def report() -> object:
        if len(options.what) == 1 and ":" in options.what[0]:
            model, inputs = _model(options.what[0]), [_input(text) for text in options.input]
            if isinstance(model, torch.nn.Module):
                longconv.replace_conv1d(model)
            with torch.no_grad():
                return longconv.warmup(model, *inputs, device=options.device, progress=True)
        if options.input:
            raise ValueError("--input goes with one MODEL (package.module:name)")
        return longconv.warmup(_problems(options.what), device=options.device, progress=True)

    return _said("warmup", report)


def _tune(options: argparse.Namespace) -> int:
    for problem in _problems(options.problems):
        status = _said("tune", partial(longconv.tune, problem, options.device, progress=True))
        if status != 0:
            return status
    return 0


def _said(command: str, report: Callable[[], object], help_text: str = "") -> int:
    """Print what `report` returns, or why it failed; the exit status."""
    try:
        print(report(), flush=True)
    except ValueError as error:  # no problem, no device
        print(f"longconv {command}: {_first_line(error)}", file=sys.stderr)
        if help_text:
            print(f"\n{help_text}", file=sys.stderr, end="")
        return 2
    except (RuntimeError, NotImplementedError) as error:  # a problem that has no solution, no driver, ...
        print(f"longconv {command}: {_first_line(error)}", file=sys.stderr)
        return 1
    return 0


def _problems(words: Sequence[str]) -> list[str]:
    """Each argument is a problem; unquoted words are one, as for `longconv plan`."""
    return list(words) if any(" " in word for word in words) else [" ".join(words)]


def _model(text: str) -> Any:
    """The object that package.module:name stands for, or what it makes."""
    module_name, _, path = text.partition(":")
    sys.path.insert(0, "")  # as `python -m` does
    try:
        found: Any = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot find {text}: {error}") from error
    finally:
        sys.path.remove("")
    return found if isinstance(found, torch.nn.Module) else found()


def _input(text: str) -> torch.Tensor:
    """A tensor without data from 1x64x524280 or 1x64x524280:bfloat16."""
    sizes, _, name = text.partition(":")
    dtype = getattr(torch, name or "float32", None)
    if not all(size.isdecimal() for size in sizes.split("x")) or not isinstance(dtype, torch.dtype):
        raise ValueError(f"expected --input as 1x64x524280 or 1x64x524280:bfloat16, but got {text!r}")
    return torch.empty([int(size) for size in sizes.split("x")], dtype=dtype, device="meta")


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
