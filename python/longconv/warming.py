# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""`warmup`: compile the GPU kernels of problems, or of a model's convolutions, before they are first called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from longconv import _ops  # noqa: F401  (registers the operators)
from longconv._progress import shown

__all__ = ["WarmupReport", "problems_of", "warmup"]


@dataclass(frozen=True)
class WarmupReport:
    """What :func:`warmup` did. Prints itself."""

    device: str
    problems: tuple[str, ...]
    """Each once, in the order of the first call."""
    kernels: int
    """Specialisations that the problems' plans use, counted for each problem."""
    compiled: int
    """Those that the cache did not have."""
    seconds: float
    """Spent compiling."""
    folder: str
    """Where the kernels are kept."""

    def __str__(self) -> str:
        return (
            f"{_count(len(self.problems), 'problem')}, {_count(self.kernels, 'kernel')} for {self.device}: "
            f"{self.compiled} compiled in {self.seconds:.1f} s, {self.kernels - self.compiled} found in {self.folder}"
        )


def warmup(
    what: str | Sequence[str] | Callable[..., Any],
    *example_inputs: Any,
    device: str | torch.device = "cuda",
    progress: bool = False,
) -> WarmupReport:
    """Compile ahead of time, into the cache on disk, the GPU kernels that problems or a model need.

    Without it, the first call of each new shape compiles its kernels, which takes about a second. Needs the run-time
    compiler NVRTC; for a model of GPU ("h100") it needs neither a GPU nor a driver, so that a container image can be
    filled where it is built.

    Compiled is what dense tensors need. Other layouts (channels-last signals, an `out` of unaligned rows) may need
    another variant of a kernel, which the first such call compiles.

    Parameters
    ----------
    what : str, sequence of str, torch.nn.Module or callable
        One-line problems ("fprop n64 c64->128 l524280 k3 s3 d4 f32"), or something that is called with
        `example_inputs` and calls longconv's convolutions; :class:`torch.nn.Conv1d` is not looked at (see
        :func:`longconv.replace_conv1d`). The call computes nothing: parameters, buffers and inputs are replaced by
        tensors on the meta device. It runs with the caller's grad mode: under :func:`torch.no_grad` more activations
        are fused than in training.
    *example_inputs
        Tensors of any device, of which shape, strides and dtype matter, and whatever else `what` takes.
    device : str or torch.device
        "cuda" or "cuda:1", a GPU of this machine, or a model of GPU: "h100", "a100", "l4", ...
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    WarmupReport
        ``print`` it.

    Raises
    ------
    ValueError
        A problem, or the device, is not understood.
    RuntimeError
        The model calls no convolution of longconv; NVRTC is missing; the cache cannot be written.
    NotImplementedError
        A problem has no GPU kernel.
    """
    name = str(device)
    if name == "cpu":
        raise ValueError(
            "warmup: expected a GPU, but got device 'cpu': its kernels are compiled when longconv is built"
        )
    if callable(what):
        problems = problems_of(what, *example_inputs)
        if not problems:
            raise RuntimeError(
                "warmup: the model made no call of longconv's convolutions. Its torch.nn.Conv1d become longconv's by "
                "longconv.replace_conv1d(model)"
            )
    else:
        if example_inputs:
            raise TypeError("warmup: expected inputs for a model only, but got problems and inputs")
        problems = [what] if isinstance(what, str) else list(dict.fromkeys(what))
    kernels, compiled, seconds = 0, 0, 0.0
    for problem in shown(problems, f"compiling for {name}", "problem") if progress else problems:
        counts = torch.ops.longconv.compile_ahead(problem, name)
        kernels, compiled, seconds = kernels + counts[0], compiled + counts[1], seconds + counts[2]
    return WarmupReport(name, tuple(problems), kernels, compiled, seconds, torch.ops.longconv.cache_folder())


def problems_of(model: Callable[..., Any], *inputs: Any) -> list[str]:
    """The one-line problems of longconv's forward convolutions in one call of `model`, each once."""
    with _Recorder() as recorder:
        arguments = tuple(_without_data(value) for value in inputs)
        if isinstance(model, nn.Module):
            _functional_call(model, arguments)
        else:
            model(*arguments)
    return list(recorder.problems)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the problem of each convolution that comes by."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.problems: dict[str, None] = {}

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op._schema.name == "longconv::fprop":
            # `out`, the one keyword argument, is no part of the problem.
            self.problems[torch.ops.longconv.fprop_problem(*args)] = None
        return op(*args, **(kwargs or {}))


def _functional_call(model: nn.Module, arguments: tuple[Any, ...]) -> None:
    """Call the model with its parameters and buffers replaced, for this call, by tensors without data."""
    call: Callable[..., Any]
    try:
        from torch.func import functional_call as call
    except ImportError:  # PyTorch 1.13
        from torch.nn.utils.stateless import functional_call as call
    state = [*model.named_parameters(), *model.named_buffers()]
    if any(nn.parameter.is_lazy(tensor) for _, tensor in state):
        raise RuntimeError("warmup: the model has lazy modules: call it once, so that they know their sizes")
    call(model, {name: _without_data(tensor) for name, tensor in state}, arguments)


def _without_data(value: Any) -> Any:
    """The same value with every tensor in it on the meta device."""
    if isinstance(value, Tensor):
        meta = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="meta")
        return meta.requires_grad_(value.requires_grad)
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_without_data(item) for item in value)
    if type(value) is dict:
        return {key: _without_data(item) for key, item in value.items()}
    return value


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
