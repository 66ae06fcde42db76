# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""A constant-Q band-pass filter bank made of strided 1-D convolutions.

Each band is a windowed complex exponential, its length inversely proportional to its frequency (J. C. Brown,
"Calculation of a constant Q spectral transform", J. Acoust. Soc. Am. 89, 1991). Bands of one octave share one
convolution: real and imaginary parts are output channels, the longest band sets the kernel size (tens of thousands of
taps in the lowest octave). Their squared magnitudes are smoothed and brought to the common frame rate by a depthwise
convolution.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import windows
from torch import Tensor, nn

import longconv

__all__ = ["ConstantQ"]

Array = npt.NDArray[np.float64]


class ConstantQ(nn.Module):
    """Band energies of a signal, one frame every `hop_samples`.

    Parameters
    ----------
    sample_rate_hz : float
        Of the signal.
    lowest_hz : float
        Centre of the lowest band; the highest lies just below 0.45 of the sample rate.
    bands_per_octave : int
        Spacing of the centres.
    quality : float
        Centre frequency over bandwidth, the same for every band. The window of a band at f is
        ``2 * quality * sample_rate_hz / f`` samples long: a Hann window is 2 of its bins wide at half amplitude.
    hop_samples : int
        Samples between frames; a power of two.
    """

    def __init__(
        self,
        sample_rate_hz: float,
        lowest_hz: float = 55.0,
        bands_per_octave: int = 24,
        quality: float = 17.0,
        hop_samples: int = 256,
    ) -> None:
        super().__init__()
        if hop_samples < 1 or hop_samples & (hop_samples - 1):
            raise ValueError(f"expected hop_samples to be a power of two, but got {hop_samples}")
        highest_hz = 0.45 * sample_rate_hz
        if not 0 < lowest_hz < highest_hz:
            raise ValueError(f"expected lowest_hz between 0 and {highest_hz:g}, but got {lowest_hz:g}")
        bands = int(np.floor(bands_per_octave * np.log2(highest_hz / lowest_hz))) + 1
        self.centres_hz: Array = lowest_hz * 2.0 ** (np.arange(bands) / bands_per_octave)
        self.hop_samples = hop_samples
        octaves = [
            _Octave(centres, sample_rate_hz, quality, hop_samples)
            for centres in np.split(self.centres_hz, range(bands_per_octave, bands, bands_per_octave))
        ]
        self.octaves = nn.ModuleList(octaves)
        self.taps = [octave.band_pass.kernel_size[0] for octave in octaves]

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, L) to energies (N, bands, ceil(L / hop_samples)); a full-scale sine has energy 1 in its band."""
        return torch.cat(list(self.by_octave(x)), dim=1)

    def by_octave(self, x: Tensor) -> Iterator[Tensor]:
        """The same, octave by octave from the lowest."""
        for octave in self.octaves:
            yield octave(x)


class _Octave(nn.Module):
    """(N, 1, L) to (N, bands, frames)."""

    def __init__(self, centres_hz: Array, sample_rate_hz: float, quality: float, hop_samples: int) -> None:
        super().__init__()
        bands = len(centres_hz)
        lengths = [_odd(2 * quality * sample_rate_hz / centre) for centre in centres_hz]
        # The squared magnitude of a band is smooth on the scale of its window: 16 samples of it are plenty.
        stride = min(hop_samples, 1 << max(0, int(np.log2(min(lengths) / 16))))
        kernel = np.zeros((2 * bands, 1, max(lengths)))
        for band, (centre, length) in enumerate(zip(centres_hz, lengths)):
            window = windows.hann(length, sym=True)
            samples = np.arange(length) - length // 2
            atom = 2 / window.sum() * window * np.exp(2j * np.pi * centre / sample_rate_hz * samples)
            start = (max(lengths) - length) // 2
            kernel[band, 0, start : start + length] = atom.real
            kernel[bands + band, 0, start : start + length] = atom.imag
        self.band_pass = longconv.Conv1d(1, 2 * bands, max(lengths), stride=stride, padding="same", bias=False)
        _set_weight(self.band_pass, kernel)

        rest = hop_samples // stride
        smoother = windows.hann(2 * rest + 1)  # 3 taps (0, 1, 0) where the rates are equal
        self.smooth = longconv.Conv1d(
            bands, bands, len(smoother), stride=rest, padding="same", padding_mode="replicate", groups=bands, bias=False
        )
        _set_weight(self.smooth, np.tile(smoother / smoother.sum(), (bands, 1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        real, imaginary = self.band_pass(x).square_().chunk(2, dim=1)
        energy: Tensor = self.smooth(real.add_(imaginary))
        return energy


def _set_weight(layer: nn.Conv1d, kernel: Array) -> None:
    layer.weight.requires_grad_(False).copy_(torch.from_numpy(kernel))


def _odd(length: float) -> int:
    return 2 * round(length / 2) + 1
