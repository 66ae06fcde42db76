# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""``longconv doctor``: what this installation is made of, and whether it computes what it should."""

from __future__ import annotations

import os
import platform
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import longconv
from longconv._machine import huge_page_mode
from longconv._ops import diagnose_cuda
from longconv.functional import conv1d

__all__ = ["Finding", "examine"]

_UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    text: str
    ok: bool = True

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.topic:<16}{self.text}"


def examine() -> Iterator[Finding]:
    """Look at everything, in order; the self-test comes last."""
    yield Finding("longconv", f"{longconv.__version__} at {Path(longconv.__file__).parent}")
    for line in longconv.build_info().splitlines():
        topic, _, text = line.partition(" ")
        if topic != "longconv":
            yield Finding(topic if topic == "device" else f"built: {topic}", text)
    yield Finding("python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads")
    yield Finding("system", f"{platform.platform()}, {os.cpu_count()} hardware threads")
    yield Finding("huge pages", _huge_pages())
    yield Finding("cuda", _cuda())
    for dtype in _UNIT:
        try:
            yield _self_test(dtype)
        except RuntimeError as error:
            yield Finding("self-test", f"{str(dtype)[6:]}: {error}", ok=False)


def _huge_pages() -> str:
    mode = huge_page_mode()
    meaning = {
        "always": "large fresh outputs get them",
        "madvise": "large fresh outputs ask for them",
        "never": "switched off: large fresh outputs cost page faults; pass `out=` to reuse memory",
        "unknown": "nothing known to this system: large fresh outputs may cost page faults",
    }
    return f"{mode} ({meaning.get(mode, 'of no known meaning')})"


def _cuda() -> str:
    if not torch.cuda.is_available():
        return "no device in reach of PyTorch"
    return diagnose_cuda()


def _self_test(dtype: torch.dtype) -> Finding:
    """All three passes of one small convolution against loops in float64, within the promised bounds."""
    channels, filters, length, taps, stride, dilation, pad = 3, 5, 61, 4, 3, 2, 5
    draw = random.Random(1)

    def tensor(*shape: int) -> Tensor:
        count = 1
        for size in shape:
            count *= size
        return torch.tensor([draw.uniform(-1, 1) for _ in range(count)], dtype=torch.float64).view(shape).to(dtype)

    x, w = tensor(1, channels, length).requires_grad_(), tensor(filters, channels, taps).requires_grad_()
    y = conv1d(x, w, stride=stride, padding=pad, dilation=dilation)
    samples = y.shape[2]
    grad_y = tensor(1, filters, samples)
    grad_x, grad_w = torch.autograd.grad(y, (x, w), grad_y)

    # Each product of the three sums, added up where it belongs: value, sum of magnitudes, number of terms.
    exact = {name: [[0.0, 0.0, 0.0] for _ in range(t.numel())] for name, t in (("y", y), ("dx", x), ("dw", w))}
    xs, ws, gs = (t.detach().double().view(-1).tolist() for t in (x, w, grad_y))
    for o in range(filters):
        for t in range(samples):
            for i in range(channels):
                for k in range(taps):
                    source = t * stride + k * dilation - pad
                    if not 0 <= source < length:
                        continue
                    at_y, at_x, at_w = o * samples + t, i * length + source, (o * channels + i) * taps + k
                    for name, where, product in (
                        ("y", at_y, ws[at_w] * xs[at_x]),
                        ("dx", at_x, ws[at_w] * gs[at_y]),
                        ("dw", at_w, gs[at_y] * xs[at_x]),
                    ):
                        total = exact[name][where]
                        total[0] += product
                        total[1] += abs(product)
                        total[2] += 1
    unit, accumulate = _UNIT[dtype], min(_UNIT[dtype], _UNIT[torch.float32])
    worst = 0.0
    for name, result in (("y", y), ("dx", grad_x), ("dw", grad_w)):
        for got, (value, magnitude, terms) in zip(result.detach().double().view(-1).tolist(), exact[name]):
            # In float64 the loops above err as much as the kernel may.
            bound = (terms + 2) * accumulate * magnitude * (2 if dtype == torch.float64 else 1)
            bound += unit * abs(value) if unit != accumulate else 0.0
            error = abs(got - value)
            worst = max(worst, error / bound if bound else (0.0 if error == 0 else float("inf")))
    ok = worst <= 1
    return Finding("self-test", f"{str(dtype)[6:]}: forward and backward, worst error {worst:.2f} of the bound", ok)
