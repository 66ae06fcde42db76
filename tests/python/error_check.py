# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Calls that must raise: what PyTorch raises for the same call, or an exception of our own, with a message that says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import pytest
import torch


def t(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Some tensor of this shape."""
    return torch.ones(shape, dtype=dtype)


def check_exception(
    function: Callable[..., Any],
    expected: type[BaseException],
    arguments: Sequence[Any],
    keywords: dict[str, Any],
    words: Sequence[str],
) -> None:
    """Exactly this type, no subclass of it, and a message with these words."""
    with pytest.raises(expected) as raised:
        function(*arguments, **keywords)
    assert raised.type is expected
    message = str(raised.value)
    assert all(word in message for word in words), message


def check_same_exception(
    theirs: Callable[..., Any],
    ours: Callable[..., Any],
    arguments: Sequence[Any],
    keywords: dict[str, Any],
    words: Sequence[str] = (),
    no_kernel: bool = False,
) -> None:
    """PyTorch's type. `no_kernel`: NotImplementedError, which Debian's PyTorch 1.13 did not raise yet."""
    with pytest.raises(Exception) as raised:  # noqa: PT011  (whatever it is, ours must be it)
        theirs(*arguments, **keywords)
    check_exception(ours, NotImplementedError if no_kernel else raised.type, arguments, keywords, words)
