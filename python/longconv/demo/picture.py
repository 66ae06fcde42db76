# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""One picture: the waveform above, band energies over time and logarithmic frequency below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

if TYPE_CHECKING:
    from longconv.demo.recording import Recording

__all__ = ["draw"]

_PAPER = "#0b0b14"
_INK = "#d8d4e3"
_FAINT = "#77738a"
_WAVE = "#f2a65a"
_STYLE: Any = {
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.facecolor": _PAPER,
    "figure.facecolor": _PAPER,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
}
_RANGE_DB = 70.0
_TICKS_HZ = (31.25, 62.5, 125, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000)


def draw(
    recording: Recording, centres_hz: npt.NDArray[np.float64], energy: npt.NDArray[np.float32], hop: int, path: Path
) -> None:
    """Write the picture of `energy` (bands, frames; 1 is a full-scale sine; a frame every `hop` samples) as PNG."""
    duration_s = recording.samples.shape[1] / recording.sample_rate_hz
    level_db = 10 * np.log10(np.maximum(energy, 1e-20))
    top_db = float(np.ceil(np.percentile(level_db, 99.9) / 5) * 5)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(16, 9), dpi=150)
        grid = figure.add_gridspec(
            2, 3, height_ratios=(1, 4.2), width_ratios=(30, 3.4, 0.45), left=0.062, right=0.955, top=0.875, bottom=0.075,
            hspace=0.05, wspace=0.035)  # fmt: skip
        wave = figure.add_subplot(grid[0, 0])
        bands = figure.add_subplot(grid[1, 0], sharex=wave)
        mean = figure.add_subplot(grid[1, 1], sharey=bands)
        scale = figure.add_subplot(grid[1, 2])

        _draw_wave(wave, recording, duration_s)
        edges_s = np.minimum(np.arange(energy.shape[1] + 1) * hop / recording.sample_rate_hz, duration_s)
        ratio = np.sqrt(centres_hz[1] / centres_hz[0])
        edges_hz = np.append(centres_hz / ratio, centres_hz[-1] * ratio)
        mesh = bands.pcolormesh(
            edges_s, edges_hz, level_db, cmap="magma", vmin=top_db - _RANGE_DB, vmax=top_db, rasterized=True)  # fmt: skip
        bands.set_yscale("log")
        bands.set_xlabel("time (s)")
        bands.set_ylabel("frequency (Hz)")
        bands.set_yticks([tick for tick in _TICKS_HZ if edges_hz[0] <= tick <= edges_hz[-1]])
        bands.yaxis.set_major_formatter(FuncFormatter(_frequency_label))
        bands.yaxis.set_minor_locator(NullLocator())
        for _, start in recording.parts[1:]:
            bands.axvline(start / recording.sample_rate_hz, color=_INK, linewidth=0.6, alpha=0.35)

        _draw_mean(mean, centres_hz, energy, top_db)
        bar = figure.colorbar(mesh, cax=scale)
        bar.outline.set_visible(False)
        bar.set_label("band level (dB relative to a full-scale sine)")
        for axes in (wave, bands, mean):
            axes.spines[:].set_visible(False)
            axes.tick_params(length=3)
        figure.text(0.062, 0.945, f"{recording.title[0].upper()}{recording.title[1:]}", fontsize=19, weight="bold")
        figure.text(
            0.062, 0.912,
            f"{duration_s:.1f} s at {recording.sample_rate_hz / 1e3:g} kHz through {len(centres_hz)} constant-Q band-pass "
            "filters, computed with longconv.Conv1d", color=_FAINT)  # fmt: skip
        figure.savefig(path)


def _draw_wave(axes: Axes, recording: Recording, duration_s: float) -> None:
    """The range of the samples in each of some two thousand columns, and the parts' names."""
    mono = recording.samples.mean(axis=0)
    per_column = max(1, len(mono) // 2400)
    columns = mono[: len(mono) // per_column * per_column].reshape(-1, per_column)
    time_s = (np.arange(len(columns)) + 0.5) * per_column / recording.sample_rate_hz
    reach = max(float(np.abs(mono).max()), 1e-6)
    axes.fill_between(time_s, columns.min(axis=1), columns.max(axis=1), color=_WAVE, linewidth=0.3)
    axes.set_xlim(0, duration_s)
    axes.set_ylim(-1.1 * reach, 1.35 * reach)
    axes.set_yticks([-round(reach, 2), 0, round(reach, 2)])
    axes.set_ylabel("amplitude")
    axes.tick_params(labelbottom=False, bottom=False)
    for name, start in recording.parts:
        axes.axvline(start / recording.sample_rate_hz, color=_INK, linewidth=0.6, alpha=0.35)
        axes.text(start / recording.sample_rate_hz + 0.006 * duration_s, 1.12 * reach, name, fontsize=10, color=_INK)


def _draw_mean(axes: Axes, centres_hz: npt.NDArray[np.float64], energy: npt.NDArray[np.float32], top_db: float) -> None:
    """Mean level of each band over the whole recording."""
    mean_db = 10 * np.log10(np.maximum(energy.mean(axis=1), 1e-20))
    floor_db = top_db - _RANGE_DB
    axes.fill_betweenx(centres_hz, floor_db, np.maximum(mean_db, floor_db), color=_WAVE, alpha=0.25, linewidth=0)
    axes.plot(np.maximum(mean_db, floor_db), centres_hz, color=_WAVE, linewidth=1.2)
    axes.set_xlim(floor_db, top_db)
    axes.set_xlabel("mean (dB)")
    axes.tick_params(labelleft=False, left=False)


def _frequency_label(frequency_hz: float, _position: object = None) -> str:
    return f"{frequency_hz / 1e3:g}k" if frequency_hz >= 1000 else f"{frequency_hz:g}"
