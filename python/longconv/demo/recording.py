# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""A recording through a constant-Q filter bank, and one picture of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.io import wavfile
from tqdm import tqdm

from longconv.demo import picture
from longconv.demo.filterbank import ConstantQ

__all__ = ["Recording", "read", "run"]

ALSA_FOLDER = Path("/usr/share/sounds/alsa")
_FRAMES = 2400
"""About so many frames make a picture."""


@dataclass
class Recording:
    """Sound: (channels, samples) in [-1, 1], and where its parts begin."""

    title: str
    sample_rate_hz: int
    samples: npt.NDArray[np.float32]
    parts: list[tuple[str, int]]
    """Name and first sample of each part; empty for a recording in one piece."""


def run(wav: Path | None, output: Path) -> Path:
    """Filter, draw, and say what was done; the picture's path."""
    recording = read(wav) if wav else read_alsa()
    channels, length = recording.samples.shape
    seconds = length / recording.sample_rate_hz
    sound = "mono" if channels == 1 else f"{channels} channels"
    print(f"\n2. A recording: {recording.title}, {sound}, {length:,} samples at {recording.sample_rate_hz:,} Hz, "
          f"{seconds:.1f} s")  # fmt: skip
    hop = 1 << max(5, round(np.log2(max(length, 1) / _FRAMES)))
    bank = ConstantQ(recording.sample_rate_hz, hop_samples=hop)
    taps = bank.taps
    print(f"   {len(bank.centres_hz)} bands, {bank.centres_hz[0]:.0f} Hz to {bank.centres_hz[-1] / 1e3:.1f} kHz; "
          f"filters of {max(taps):,} taps in the lowest octave, {min(taps):,} in the highest")  # fmt: skip

    x = torch.from_numpy(recording.samples)[:, None]
    start = time.perf_counter()
    with torch.inference_mode():
        octaves = tqdm(bank.by_octave(x), total=len(taps), desc="   filtering", unit="octave", leave=False)
        energy = torch.cat([octave.mean(0) for octave in octaves]).numpy()
    elapsed = time.perf_counter() - start
    print(f"   filtered in {elapsed:.2f} s, {seconds / elapsed:.0f} times as fast as it sounds")

    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{wav.stem if wav else 'recordings'}.png"
    picture.draw(recording, bank.centres_hz, energy, hop, path)
    print(f"   picture: {path}")
    return path


def read(path: Path) -> Recording:
    """A WAV file: PCM of 8 to 32 bits or floating point, any number of channels."""
    try:
        sample_rate_hz, samples = wavfile.read(path)
    except ValueError as error:
        raise ValueError(f"{path} is no WAV file that can be read: {error}") from None
    if samples.size == 0:
        raise ValueError(f"{path} holds no samples")
    if samples.dtype == np.uint8:
        scaled = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):  # 24 bits come in the upper bits of 32
        scaled = (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    else:
        scaled = samples.astype(np.float32)
    channels_first = np.ascontiguousarray(scaled.reshape(len(scaled), -1).T)
    return Recording(path.name, sample_rate_hz, channels_first, [])


def read_alsa(folder: Path = ALSA_FOLDER) -> Recording:
    """The speech and noise that Debian's alsa-utils carries, one after the other."""
    paths = sorted(folder.glob("*.wav"))
    if not paths:
        raise OSError(f"no recordings in {folder}: install Debian's alsa-utils, or name a file of yours with WAV=path")
    pieces = [read(path) for path in paths]
    rates = {piece.sample_rate_hz for piece in pieces}
    if len(rates) != 1:
        raise ValueError(f"the recordings in {folder} have different sample rates: {sorted(rates)}")
    mono = [piece.samples.mean(axis=0, keepdims=True) for piece in pieces]
    starts = np.cumsum([0] + [samples.shape[1] for samples in mono[:-1]])
    parts = [(path.stem.replace("_", " "), int(start)) for path, start in zip(paths, starts)]
    title = f"the {len(paths)} recordings of alsa-utils"
    return Recording(title, rates.pop(), np.concatenate(mono, axis=1), parts)
