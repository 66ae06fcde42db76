# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""`replace_conv1d`: turn the convolutions of an existing model into longconv's, in place."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.utils import parametrize

from longconv.modules import Conv1d, ConvTranspose1d, LazyConv1d, LazyConvTranspose1d

__all__ = ["Entry", "ReplaceReport", "replace_conv1d"]

_BECOMES = {
    nn.Conv1d: Conv1d,
    nn.LazyConv1d: LazyConv1d,
    nn.ConvTranspose1d: ConvTranspose1d,
    nn.LazyConvTranspose1d: LazyConvTranspose1d,
}
_DTYPES = (
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.complex64,
    torch.complex128,
    torch.int64,
)
_DEVICES = ("cpu", "cuda", "meta")


@dataclass(frozen=True)
class Entry:
    """One module of the report."""

    names: tuple[str, ...]
    """Every qualified name under which the model holds it; the model itself is ''."""
    description: str
    """Its class and `extra_repr`, e.g. "Conv1d(64, 128, kernel_size=(3,), stride=(1,))"."""
    reason: str = ""
    """Why it was left; empty for a swapped one."""

    def __str__(self) -> str:
        line = f"{', '.join(name or '(the model itself)' for name in self.names)}: {self.description}"
        return f"{line}: {self.reason}" if self.reason else line


@dataclass(frozen=True)
class ReplaceReport:
    """What :func:`replace_conv1d` did. Prints itself."""

    swapped: tuple[Entry, ...] = field(default=())
    """Modules that are longconv's now, in the model's order."""
    left: tuple[Entry, ...] = field(default=())
    """1-D convolutions that were not touched, each with the reason."""

    def __str__(self) -> str:
        lines = [f"replace_conv1d: {len(self.swapped)} swapped, {len(self.left)} left"]
        lines += [f"  swapped  {entry}" for entry in self.swapped]
        lines += [f"  left     {entry}" for entry in self.left]
        return "\n".join(lines)


def replace_conv1d(model: nn.Module) -> ReplaceReport:
    """Turn every :class:`torch.nn.Conv1d` and :class:`torch.nn.ConvTranspose1d` of `model` into longconv's, in place.

    The module objects stay the same objects: only their class changes. So parameters (and optimizers that hold them),
    buffers, hooks, parametrizations, training mode, names, and references to the modules from anywhere all stay; a
    module that the model holds under several names is swapped once; and the model itself may be the convolution.
    Results stay within the bounds that :func:`longconv.functional.conv1d` states.

    Swapped are modules whose class is exactly :class:`torch.nn.Conv1d`, :class:`torch.nn.ConvTranspose1d` or the lazy
    form of one, parametrized ones (`torch.nn.utils.parametrizations`) included. Left, and reported with the reason, are
    subclasses (their code may mean something else), instances whose ``forward`` was replaced, quantized and scripted
    convolutions, and dtypes and devices that longconv has no kernels for. Calls of :func:`torch.nn.functional.conv1d`
    and :func:`torch.nn.functional.conv_transpose1d` in the model's own code are not seen.

    Parameters
    ----------
    model : torch.nn.Module
        Is changed.

    Returns
    -------
    ReplaceReport
        Swapped and left modules; ``print`` it.

    Raises
    ------
    TypeError
        `model` is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"replace_conv1d(): argument 'model' must be torch.nn.Module, not {type(model).__name__}")
    modules: dict[int, nn.Module] = {}
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        modules.setdefault(id(module), module)
        names.setdefault(id(module), []).append(name)
    swapped: list[Entry] = []
    left: list[Entry] = []
    for key, module in modules.items():
        if not _is_convolution(module):
            continue
        description = f"{type(module).__name__}({module.extra_repr()})"
        reason = _reason_to_leave(module)
        (left if reason else swapped).append(Entry(tuple(names[key]), description, reason or ""))
        if not reason:
            _swap(module)
    return ReplaceReport(tuple(swapped), tuple(left))


def _is_convolution(module: nn.Module) -> bool:
    """Whether it is some 1-D convolution, by class, or by name where the classes have no common base."""
    return isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)) or _is_foreign(module)


def _is_foreign(module: nn.Module) -> bool:
    """Quantized or scripted."""
    if isinstance(module, torch.jit.ScriptModule):
        return str(getattr(module, "original_name", "")) in ("Conv1d", "ConvTranspose1d")
    package = type(module).__module__
    return package.startswith(("torch.ao.nn", "torch.nn.quantized", "torch.nn.intrinsic")) and "1d" in (
        type(module).__name__
    )


def _plain_class(module: nn.Module) -> type:
    """The module's class without what parametrization put in front of it."""
    if parametrize.is_parametrized(module):
        return parametrize.type_before_parametrizations(module)
    return type(module)


def _reason_to_leave(module: nn.Module) -> str | None:
    cls = _plain_class(module)
    if issubclass(cls, (Conv1d, ConvTranspose1d)):
        return "is longconv's already"
    if isinstance(module, torch.jit.ScriptModule):
        return "is scripted"
    if _is_foreign(module):
        return f"is quantized or fused by torch ({cls.__module__})"
    if cls not in _BECOMES:
        base = "ConvTranspose1d" if issubclass(cls, nn.ConvTranspose1d) else "Conv1d"
        return f"is a subclass of torch.nn.{base} with code of its own ({cls.__module__}.{cls.__qualname__})"
    for method in ("forward", "_conv_forward"):
        if method in vars(module):
            return f"its {method} was replaced on the instance"
    for name, tensor in module.named_parameters():
        if tensor.dtype not in _DTYPES:
            return f"no kernel for {tensor.dtype} ({name})"
        if tensor.device.type == "cuda" and not tensor.dtype.is_floating_point:
            return f"no CUDA kernel for {tensor.dtype} ({name})"
        if tensor.device.type not in _DEVICES:
            return f"no engine for device {tensor.device} ({name})"
    return None


def _swap(module: nn.Module) -> None:
    cls = type(module)
    if cls in _BECOMES:
        module.__class__ = _BECOMES[cls]
        return
    # A class that parametrize made for this instance: a property for each parametrized tensor, one base.
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    module.__class__ = type(cls.__name__, (_BECOMES[_plain_class(module)],), namespace)
