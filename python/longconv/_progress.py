# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""A progress bar on a terminal, where tqdm is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["shown"]

Item = TypeVar("Item")


def shown(items: Sequence[Item], what: str, unit: str) -> Iterator[Item]:
    """The items, one after the other, with a bar on standard error that goes when they end."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield from items
        return
    yield from tqdm(items, desc=what, unit=unit, leave=False, disable=None)
