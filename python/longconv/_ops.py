# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Loads the compiled operators, ``torch.ops.longconv.*``, and tells vmap how to batch them."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Any, Optional, cast

import torch
from torch import Tensor

__all__ = ["build_info", "diagnose_cuda", "plan", "reuse_packed_weights"]

_LIBRARY = Path(__file__).with_name("_C.so")


def _built_for(library: Path) -> str:
    """The PyTorch version that the library was compiled against: written in it, to be read without loading it."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = re.search(rb"longconv-built-for-torch=([^;\0]+);", content)
        return found[1].decode() if found else "unknown"


def _series(version: str) -> list[str]:
    return re.split(r"[.+]", version)[:2]


def _load() -> None:
    if not _LIBRARY.exists():
        raise ImportError(
            f"longconv's compiled library is missing: {_LIBRARY}. Build it: `pip install .` or `make build`."
        )
    built_for = _built_for(_LIBRARY)
    if _series(built_for) != _series(torch.__version__):
        raise ImportError(
            f"longconv was built for PyTorch {built_for}, but PyTorch {torch.__version__} is running, and PyTorch's C++ "
            "interface changes between releases. Rebuild longconv in this environment: "
            "`pip install --no-build-isolation --force-reinstall --no-deps longconv` from its sources."
        )
    try:
        torch.ops.load_library(str(_LIBRARY))  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ImportError(
            f"longconv's compiled library cannot be loaded ({_LIBRARY}, built for PyTorch {built_for}, "
            f"running {torch.__version__}): {error}"
        ) from error


def _nvrtc_folders() -> list[str]:
    """Where PyTorch's wheels keep the run-time compiler: site-packages/nvidia/*/lib."""
    packages = Path(torch.__file__).parents[1] / "nvidia"
    return sorted(str(library.parent) for library in packages.glob("*/lib/libnvrtc.so.*"))


_load()
torch.ops.longconv.add_nvrtc_folders(_nvrtc_folders())


def plan(problem: str, threads: int = 0, device: str | torch.device = "cpu") -> str:
    """How a problem will be done on a device, and why, in several lines. Nothing is computed or measured.

    Parameters
    ----------
    problem : str
        For example "fprop n64 c64->128 l524280 k3 s3 d4 f32".
    threads : int
        Of the CPU; 0 for :func:`torch.get_num_threads`.
    device : str or torch.device
        "cpu"; "cuda" or "cuda:1", a GPU of this machine; or a model of GPU, "h100", "a100", "l4", ..., for which no
        GPU is needed.

    Raises
    ------
    ValueError
        A word of the problem, or the device, is not known; the message lists those that are.
    RuntimeError
        The sizes describe no convolution, or there is no driver or GPU for "cuda".
    NotImplementedError
        No kernel does this problem there; the message says why.
    """
    return cast(str, torch.ops.longconv.plan(problem, threads, str(device)))


def reuse_packed_weights(enabled: bool) -> bool:
    """Whether CUDA kernels may keep weights in their own packed order between calls; off until this is called.

    Packing takes some microseconds of every call. Kept weights are used again while the tensor is the same object,
    with the same storage and the same version: optimizers, ``load_state_dict`` and all in-place operations are seen,
    under :func:`torch.no_grad` too. Not seen, by PyTorch's version counter and so by this, are writes through
    ``parameter.data`` or through another tensor made by ``.data``, NumPy, DLPack or FSDP's flat parameters: do not
    enable it for a model whose weights are written in such ways. Kept is nothing of inference tensors, which have no
    version, and nothing inside of a CUDA graph's capture: a graph packs at each replay.

    Memory: the packed weights (once or twice the size of the weights), for every stream that
    uses them; 256 MiB in all; freed after their tensor, or when this is switched off. The environment's
    ``LONGCONV_REUSE_PACKED_WEIGHTS=1`` switches it on from the start.

    Parameters
    ----------
    enabled : bool

    Returns
    -------
    bool
        What was set before.
    """
    before: bool = torch.ops.longconv.reuses_packed_weights()
    torch.ops.longconv.reuse_packed_weights(enabled)
    return before


def diagnose_cuda() -> str:
    """Driver, run-time compiler, kernel cache and each GPU with a self-test, or what is wrong and what to do."""
    return cast(str, torch.ops.longconv.diagnose_cuda())


def build_info() -> str:
    """Versions of the library, of the PyTorch and the compiler that it was built with, and the CPU as it sees it."""
    return cast(str, torch.ops.longconv.build_info())


# --- vmap ------------------------------------------------------------------------------------------------------------
# A batch of convolutions is one convolution: the vmapped dimension B joins the batch where only the signals have it,
# the channels where only the weights have it, and the groups where both have it. Tensor arguments come with the
# position of B, or None.

Dim = Optional[int]


def _split(tensor: Tensor, axis: int, *sizes: int) -> Tensor:
    return cast(Tensor, tensor.unflatten(axis, sizes))  # type: ignore[no-untyped-call]


def _front(tensor: Tensor, dim: Dim, size: int) -> Tensor:
    """The tensor with B in front; a tensor without B is repeated (a view)."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _into_batch(tensor: Tensor, dim: Dim, size: int) -> Tensor:
    """(N, C, L) with B -> (B*N, C, L)."""
    return _front(tensor, dim, size).flatten(0, 1)


def _into_channels(tensor: Tensor, dim: Dim, size: int) -> Tensor:
    """(N, C, L) with B -> (N, B*C, L)."""
    return _front(tensor, dim, size).movedim(0, 1).flatten(1, 2)


def _into_grouped_channels(tensor: Tensor, dim: int, axis: int, groups: int) -> Tensor:
    """C = G*c channels at `axis`, with B -> G*B*c channels: every group has its own channels of all of B."""
    channels = _split(tensor.movedim(dim, 0), axis + 1, groups, -1)  # (B, ..., G, c, ...)
    return channels.movedim(0, axis + 1).flatten(axis, axis + 2)


def _from_grouped_channels(tensor: Tensor, axis: int, size: int, groups: int) -> Tensor:
    """G*B*c channels at `axis` -> B in front, G*c channels."""
    return _split(tensor, axis, groups, size, -1).movedim(axis + 1, 0).flatten(axis + 1, axis + 2)


def _fprop_vmap(
    info: Any,
    in_dims: tuple[Dim, ...],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    stride: int,
    pad_left: int,
    pad_right: int,
    pad_mode: str,
    dilation: int,
    groups: int,
    activation: str = "none",
    negative_slope: float = 0.01,
    precision: str = "follow",
) -> tuple[Tensor, int]:
    size = info.batch_size
    x_dim, weight_dim, bias_dim, residual_dim = in_dims[:4]
    geometry = (stride, pad_left, pad_right, pad_mode, dilation)
    epilogue = (activation, negative_slope, precision)
    fprop = torch.ops.longconv.fprop.default
    if weight_dim is None and bias_dim is None:  # B joins the batch
        if residual is not None:
            residual = _into_batch(residual, residual_dim, size)
        y = fprop(_into_batch(x, x_dim, size), weight, bias, residual, *geometry, groups, *epilogue)
        return _split(y, 0, size, -1), 0
    weight = _front(weight, weight_dim, size)
    if bias is not None:
        bias = _front(bias, bias_dim, size)
    if x_dim is None and groups == 1:  # B joins the output channels
        channel_groups = groups
    else:  # B joins the groups
        channel_groups = size * groups
        x = _into_channels(x, x_dim, size)
    if bias is not None:
        bias = bias.flatten()
    if residual is not None:
        residual = _into_channels(residual, residual_dim, size)
    y = fprop(x, weight.flatten(0, 1), bias, residual, *geometry, channel_groups, *epilogue)
    return _split(y, 1, size, -1), 1


def _dgrad_vmap(
    info: Any,
    in_dims: tuple[Dim, ...],
    grad_y: Tensor,
    weight: Tensor,
    length: int,
    stride: int,
    pad_left: int,
    pad_right: int,
    pad_mode: str,
    dilation: int,
    groups: int,
    precision: str,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
) -> tuple[Tensor, int]:
    size = info.batch_size
    grad_y_dim, weight_dim = in_dims[:2]
    bias_dim, residual_dim = (*in_dims[10:], None, None)[:2]  # defaults are left out
    geometry = (length, stride, pad_left, pad_right, pad_mode, dilation)
    dgrad = torch.ops.longconv.dgrad.default
    if weight_dim is None and bias_dim is None:  # B joins the batch
        if residual is not None:
            residual = _into_batch(residual, residual_dim, size)
        grad_y = _into_batch(grad_y, grad_y_dim, size)
        grad_x = dgrad(grad_y, weight, *geometry, groups, precision, bias, residual)
        return _split(grad_x, 0, size, -1), 0
    weight, weight_dim = _front(weight, weight_dim, size), 0
    if bias is not None:
        bias, bias_dim = _front(bias, bias_dim, size), 0
    if residual is not None:
        residual, residual_dim = _front(residual, residual_dim, size), 0
    if grad_y_dim is None:  # B joins the input channels
        weight = _into_channels(weight, 0, size)
        if bias is not None:
            bias = _into_grouped_channels(bias, 0, 0, groups)
        if residual is not None:
            residual = _into_grouped_channels(residual, 0, 1, groups)
        grad_x = dgrad(grad_y, weight, *geometry, groups, precision, bias, residual)
        return _from_grouped_channels(grad_x, 1, size, groups), 0
    # B joins the groups
    if bias is not None:
        bias = bias.flatten()
    if residual is not None:
        residual = _into_channels(residual, 0, size)
    grad_y = _into_channels(grad_y, grad_y_dim, size)
    grad_x = dgrad(grad_y, weight.flatten(0, 1), *geometry, size * groups, precision, bias, residual)
    return _split(grad_x, 1, size, -1), 1


def _wgrad_vmap(
    info: Any,
    in_dims: tuple[Dim, ...],
    x: Tensor,
    grad_y: Tensor,
    kernel_size: int,
    stride: int,
    pad_left: int,
    pad_right: int,
    pad_mode: str,
    dilation: int,
    groups: int,
    bias_grad: bool,
    precision: str,
    grad_dtype: torch.dtype | None = None,
) -> tuple[tuple[Tensor, Tensor], tuple[Dim, Dim]]:
    size = info.batch_size
    x_dim, grad_y_dim = in_dims[:2]
    geometry = (kernel_size, stride, pad_left, pad_right, pad_mode, dilation)
    wgrad = torch.ops.longconv.wgrad.default
    if grad_y_dim is None:  # B joins the input channels
        assert x_dim is not None
        x = _into_grouped_channels(x, x_dim, 1, groups)
        grad_weight, grad_bias = wgrad(x, grad_y, *geometry, groups, bias_grad, precision, grad_dtype)
        return (_split(grad_weight, 1, size, -1), grad_bias), (1, None)
    if x_dim is None:  # B joins the output channels
        grad_y = _into_grouped_channels(grad_y, grad_y_dim, 1, groups)
        grad_weight, grad_bias = wgrad(x, grad_y, *geometry, groups, bias_grad, precision, grad_dtype)
        grad_weight = _from_grouped_channels(grad_weight, 0, size, groups)
        if bias_grad:
            return (grad_weight, _from_grouped_channels(grad_bias, 0, size, groups)), (0, 0)
        return (grad_weight, grad_bias), (0, None)
    # B joins the groups
    x, grad_y = _into_channels(x, x_dim, size), _into_channels(grad_y, grad_y_dim, size)
    grad_weight, grad_bias = wgrad(x, grad_y, *geometry, size * groups, bias_grad, precision, grad_dtype)
    grad_weight = _split(grad_weight, 0, size, -1)
    return (grad_weight, _split(grad_bias, 0, size, -1) if bias_grad else grad_bias), (0, 0 if bias_grad else None)


def _cast_parameter_vmap(
    info: Any, in_dims: tuple[Dim, ...], parameter: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Dim]:
    return torch.ops.longconv.cast_parameter.default(parameter, dtype), in_dims[0]


if hasattr(torch.library, "register_vmap"):  # before 2.5 vmap loops over B
    torch.library.register_vmap("longconv::fprop", _fprop_vmap)
    torch.library.register_vmap("longconv::dgrad", _dgrad_vmap)
    torch.library.register_vmap("longconv::wgrad", _wgrad_vmap)
    torch.library.register_vmap("longconv::cast_parameter", _cast_parameter_vmap)
