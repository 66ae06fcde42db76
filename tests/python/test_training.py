# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""A denoiser learns from recorded speech beside PyTorch's: the same seed, the same data, the same loss curve within noise.

The noise is measured. PyTorch's model is trained again a few times with every convolution's result, and the gradient that
it gets, moved by one unit in the last place, up, down or not at all: less than what another order of its sums may do.
How far those curves have lain from the undisturbed one by each step is the spread, and ours may lie ``WITHIN`` times as
far. That such a limit says something is tested too: PyTorch's model with one layer's gradient slightly wrong leaves it.

In TF32, PyTorch's curve in fp32 counts as a disturbed one, for both are this training's legitimate arithmetic. Disturbances at
random average away in a sum. What TF32 does in one direction stays, and each library does it elsewhere: cuDNN computes layers
of one channel in fp32, and its weight gradients err by 1.4e-3 where those of operands rounded to nearest err by 4e-4.

Stochastic gradient descent, because Adam would hide a gradient that is wrong by a factor; a step size and smooth
activations in the blocks that keep training from being chaotic, where every curve would be within noise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import wave
from collections.abc import Iterator
from typing import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import longconv

RECORDINGS = pathlib.Path(os.environ.get("LONGCONV_RECORDINGS", "/usr/share/sounds/alsa"))
WITHIN = 8.0
DISTURBED_RUNS = 3


@dataclasses.dataclass(frozen=True)
class Size:
    device: str
    channels: int
    blocks: int
    batch: int
    samples: int
    steps: int


CPU = Size("cpu", channels=16, blocks=2, batch=4, samples=2048, steps=100)
GPU = Size("cuda", channels=128, blocks=6, batch=16, samples=32768, steps=100)


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """`unit`: of the last place of a result. `wrong`: an error of one gradient that is seen against its noise."""

    unit: float
    wrong: float
    lower: torch.dtype | None = None
    tf32: bool = False


FP32 = Arithmetic(2.0**-23, wrong=0.001)
TF32 = Arithmetic(2.0**-10, wrong=0.25, tf32=True)
BF16 = Arithmetic(2.0**-7, wrong=0.25, lower=torch.bfloat16)


# --- The recording ---------------------------------------------------------------------------------------------------


def read(path: pathlib.Path) -> np.ndarray:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2), f"{path} is not mono of 16 bits"
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32)


def recording() -> tuple[torch.Tensor, torch.Tensor]:
    """(speech, noise) at 48 kHz, each of power 1: what Debian's alsa-utils carries."""
    paths = sorted(RECORDINGS.glob("*.wav"))
    assert len(paths) > 1, f"no recordings in {RECORDINGS}: `tools/bootstrap demo` installs them"
    speech = np.concatenate([read(path) for path in paths if path.stem != "Noise"])
    noise = read(RECORDINGS / "Noise.wav")
    return tuple(torch.from_numpy(t / np.sqrt(np.mean(t**2))) for t in (speech, noise))  # type: ignore[return-value]


def batches(size: Size) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(noisy, clean) pieces of the recording, (batch, 1, samples), always the same."""
    speech, noise = recording()
    generator = torch.Generator().manual_seed(1)

    def pieces(signal: torch.Tensor) -> torch.Tensor:
        starts = torch.randint(len(signal) - size.samples, (size.batch,), generator=generator)
        return torch.stack([signal[start : start + size.samples] for start in starts.tolist()])[:, None]

    for _ in range(size.steps):
        clean = pieces(speech)
        yield (clean + 0.5 * pieces(noise)).to(size.device), clean.to(size.device)


# --- The model -------------------------------------------------------------------------------------------------------


class TheirConv(nn.Conv1d):
    """PyTorch's layer with what ours fuses behind it, and with a disturbance for measuring the noise."""

    def __init__(self, *args: int, activation: str = "none", **kwargs: int) -> None:
        super().__init__(*args, **kwargs)
        self.activate: Callable[[torch.Tensor], torch.Tensor] = {
            "none": lambda y: y,
            "relu": torch.relu,
            "tanh": torch.tanh,
            "gelu": F.gelu,
        }[activation]

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        y = disturb(super().forward(x))
        return self.activate(y if residual is None else y + residual)


class TheirTransposed(nn.ConvTranspose1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return disturb(super().forward(x))


def normed(layer: nn.Module) -> nn.Module:
    """With weight normalisation, as this PyTorch has it."""
    try:
        return nn.utils.parametrizations.weight_norm(layer)  # type: ignore[no-any-return]
    except AttributeError:
        return nn.utils.weight_norm(layer)


class Block(nn.Module):
    """Of a temporal convolutional network: dilated, then pointwise onto a residual."""

    def __init__(self, conv: type[nn.Module], channels: int, dilation: int) -> None:
        super().__init__()
        wide = {"dilation": dilation, "padding": 2 * dilation}
        self.dilated = normed(conv(channels, channels, 5, activation="tanh", **wide))
        self.pointwise = conv(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.dilated(x), x)  # type: ignore[no-any-return]


class Denoiser(nn.Module):
    """Strided encoder, dilated blocks, transposed decoder."""

    def __init__(self, conv: type[nn.Module], transposed: type[nn.Module], channels: int, blocks: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            conv(1, channels // 2, 8, stride=4, padding=2, activation="relu"),
            conv(channels // 2, channels, 4, stride=2, padding=1, activation="gelu"),
        )
        self.blocks = nn.Sequential(*(Block(conv, channels, 2**i) for i in range(blocks)))
        self.decoder = nn.Sequential(
            transposed(channels, channels // 2, 4, stride=2, padding=1),
            nn.GELU(),
            transposed(channels // 2, 1, 8, stride=4, padding=2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.blocks(self.encoder(x)))  # type: ignore[no-any-return]


OURS = (longconv.Conv1d, longconv.ConvTranspose1d)
THEIRS = (TheirConv, TheirTransposed)


# --- Runs ------------------------------------------------------------------------------------------------------------

_disturbance: tuple[float, torch.Generator] | None = None


@contextlib.contextmanager
def disturbed(unit: float, seed: int, device: str) -> Iterator[None]:
    """PyTorch's convolutions are off by -1, 0 or 1 `unit`, relative, at random."""
    global _disturbance
    _disturbance = (unit, torch.Generator(device).manual_seed(seed))
    try:
        yield
    finally:
        _disturbance = None


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """PyTorch's convolutions are in fp32."""
    allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def disturb(y: torch.Tensor) -> torch.Tensor:
    if _disturbance is None:
        return y
    unit, generator = _disturbance
    return y * (1 + unit * torch.randint(-1, 2, y.shape, generator=generator, device=y.device).to(y))


def train(
    kinds: tuple[type[nn.Module], type[nn.Module]], size: Size, arithmetic: Arithmetic, wrong: float = 0.0
) -> np.ndarray:
    """The loss of every step. `wrong`: the gradient of one weight is larger by so much of itself."""
    torch.manual_seed(0)
    model = Denoiser(*kinds, size.channels, size.blocks).to(size.device)
    model.encoder[1].weight.register_hook(lambda grad: grad * (1 + wrong))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for noisy, clean in batches(size):
        optimizer.zero_grad()
        with torch.autocast(size.device, arithmetic.lower) if arithmetic.lower else contextlib.nullcontext():
            denoised = model(noisy)
        loss = F.mse_loss(denoised.float(), clean)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).double().cpu().numpy()


def check(size: Size, arithmetic: Arithmetic) -> None:
    theirs, ours = train(THEIRS, size, arithmetic), train(OURS, size, arithmetic)
    runs = []
    for seed in range(DISTURBED_RUNS):
        with disturbed(arithmetic.unit, seed, size.device):
            runs.append(train(THEIRS, size, arithmetic))
    if arithmetic.tf32:
        with without_tf32():
            runs.append(train(THEIRS, size, arithmetic))

    def distance(losses: np.ndarray) -> np.ndarray:
        return np.abs(losses - theirs) / theirs

    # By each step; a loss is a float32 number itself.
    spread = np.maximum.accumulate(np.max([distance(run) for run in runs], axis=0)) + 2.0**-23
    worst = distance(ours) / spread
    report = f"{worst.max():.3g} times the spread at step {worst.argmax()}, {WITHIN} allowed"
    print(
        f"{report}; the spread grows to {spread[-1]:.2g}; loss from {ours[:10].mean():.3g} to {ours[-10:].mean():.3g}"
    )
    assert np.isfinite(ours).all()
    assert worst.max() <= WITHIN, report
    assert (distance(train(THEIRS, size, arithmetic, arithmetic.wrong)) / spread).max() > WITHIN

    # It learned: far better than silence, and than the noise that was added (0.25).
    last = list(batches(size))[-20:]
    untouched = np.mean([F.mse_loss(noisy, clean).item() for noisy, clean in last])
    silence = np.mean([clean.square().mean().item() for _, clean in last])
    assert ours[-20:].mean() < 0.85 * untouched
    assert ours[-20:].mean() < 0.3 * silence


# --- Tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arithmetic", [FP32, BF16], ids=["fp32", "autocast"])
def test_learns_as_pytorch_does(arithmetic: Arithmetic) -> None:
    torch.set_num_threads(1)  # so small a model gains nothing from more
    check(CPU, arithmetic)


@pytest.mark.cuda
@pytest.mark.real_gpu
@pytest.mark.parametrize("arithmetic", [FP32, TF32, BF16], ids=["fp32", "tf32", "autocast"])
def test_learns_as_pytorch_does_on_a_gpu(arithmetic: Arithmetic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", arithmetic.tf32)
    check(GPU, arithmetic)
