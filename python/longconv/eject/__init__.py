# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""``longconv eject``: one layer as one Python file that needs PyTorch and nvcc, and no longconv.

The kernels are the library's own, specialised for the layer; their grids and memory layouts come from the library's
launchers as numbers. See docs/design/eject.md.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

import torch

from longconv.eject.device_text import Kernel, device_text
from longconv.eject.host_text import host_text
from longconv.eject.model_text import model_text
from longconv.eject.path import FUNCTIONS, Path

__all__ = ["ARCHS", "PRECISIONS", "add_arguments", "eject", "run"]

ARCHS = ("both", "sm_80", "sm_90a")
PRECISIONS = ("follow", "fp32", "tf32", "bf16")

_MODELS = {"sm_90a": "h100", "sm_80": "a100"}  # the GPU that the planner chooses for
_WORDS = {"fp32": "f32", "tf32": "f32 tf32", "bf16": "bf16", "f16": "f16"}
_GUARDS = {"sm_90a": "#ifdef __CUDA_ARCH_FEAT_SM90_ALL", "sm_80": "#ifndef __CUDA_ARCH_FEAT_SM90_ALL"}


def eject(problem: str, arch: str = "both", precision: str = "follow") -> str:
    """The text of the file.

    Parameters
    ----------
    problem : str
        As ``longconv plan`` takes it: a forward pass without padding, groups, residual and activation; the file has its
        gradients too. Batch and length are the file's default sizes, and what its kernels are chosen for.
    arch : 'both', 'sm_80' or 'sm_90a'
        The GPUs it is for: sm_80 and newer, Hopper, or both, chosen when it runs.
    precision : 'follow', 'fp32', 'tf32' or 'bf16'
        Of float32 tensors; 'follow' obeys ``torch.backends.cudnn.allow_tf32``. 'bf16' makes the tensors bfloat16.

    Raises
    ------
    ValueError
        Words that are not understood.
    RuntimeError, NotImplementedError
        A problem that has no solution, or none as a file.
    """
    for name, value, known in (("arch", arch, ARCHS), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, but got {value!r}")
    words = problem.split()
    stated = [name for name in ("tf32", "bf16", "f16") if name in words]
    if precision != "follow" and stated not in ([], [precision]):
        raise ValueError(f"precision {precision} contradicts the problem's {' '.join(stated)}")
    if stated:
        precision = stated[0]
    if {"dgrad", "wgrad"} & set(words):
        raise ValueError(f"problem: expected a forward pass, whose gradients the file has too, but got {problem!r}")
    rest = [word for word in words if word not in ("fprop", "f32", *_WORDS)]
    archs = ["sm_90a", "sm_80"] if arch == "both" else [arch]
    kernels: dict[tuple[str, str], tuple[Kernel, set[str]]] = {}
    sources: dict[str, str] = {}
    paths = []
    for target in archs:
        for name in ("tf32", "fp32") if precision == "follow" else (precision,):
            for kind in FUNCTIONS:
                layer = json.loads(torch.ops.longconv.layer_source(_pass_of(kind, rest, name), _MODELS[target]))
                sources.update(layer["sources"])
                namespaces = {
                    role: _register(kernels, step, name, role, target, layer) for role, step in layer["steps"].items()
                }
                paths.append(Path(name, target == "sm_90a", layer, namespaces))
    guarded = [
        kernel if len(used) == len(archs) else Kernel(**{**kernel.__dict__, "guard": _GUARDS[min(used)]})
        for kernel, used in kernels.values()
    ]
    command = f'longconv eject --problem "{problem}" --arch {arch} --precision {precision}'
    device = device_text(guarded, sources)
    return model_text(paths, arch, precision, command, device, host_text(paths))


def _pass_of(kind: str, words: list[str], precision: str) -> str:
    """A pass of the layer as a problem. The bias is the weight gradient's affair."""
    return " ".join([kind, *(word for word in words if (kind, word) != ("dgrad", "bias")), _WORDS[precision]])


_USES = {
    "pack": "Packs the weights for",
    "main": "The work of",
    "repair": "Repairs what is not exact in",
    "edges": "Repairs the edges of",
    "reduce": "Adds the partial sums of",
}


def _register(
    kernels: dict[tuple[str, str], tuple[Kernel, set[str]]],
    step: dict[str, Any],
    precision: str,
    role: str,
    target: str,
    layer: dict[str, Any],
) -> str:
    """The namespace of a step's kernel; equal specialisations share one."""
    key = (step["file"], json.dumps(step["defines"]))
    if key not in kernels:
        parts = [pathlib.PurePosixPath(step["file"]).stem]
        if layer["problem"]["pass"] == "dgrad":
            parts = [parts[0].replace("fprop", "dgrad")] if "fprop" in parts[0] else [*parts, "dgrad"]
        if role in ("repair", "edges"):
            parts.append(role)
        # Sums of all precisions are added alike.
        namespace = "_".join([*parts, *([precision] if role != "reduce" else [])])
        taken = {kernel.namespace for kernel, _ in kernels.values()}
        if namespace in taken:
            namespace += "_" + target
        comment = f"{_USES[role]} {layer['kernel']}, {precision}. From kernels/{step['file']}."
        kernels[key] = (
            Kernel(namespace, step["file"], step["entry"], step["defines"], target == "sm_90a", "", f"==== {comment}"),
            set(),
        )
    kernel, used = kernels[key]
    used.add(target)
    return kernel.namespace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``longconv eject``."""
    parser.add_argument("--problem", required=True, help="as for longconv plan; quote the '>'")
    parser.add_argument("--arch", choices=ARCHS, default="both", help="the GPUs it is for (default both)")
    parser.add_argument("--precision", choices=PRECISIONS, default="follow", help="of float32 tensors (default follow)")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write it (default: standard output)")


def run(options: argparse.Namespace) -> int:
    """Write the file; returns the exit status."""
    try:
        text = eject(options.problem, options.arch, options.precision)
        if options.output is None:
            print(text, end="")
        else:
            pathlib.Path(options.output).write_text(text, encoding="utf-8")
    except ValueError as error:
        print(f"longconv eject: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        return 2
    except (RuntimeError, NotImplementedError, OSError) as error:
        print(f"longconv eject: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        return 1
    return 0
