# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Records as one picture: above, each case's ratio; below, the roofline with both sides on it. One column a pass."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence
from typing import Any

from longconv.bench.problem import PASSES, Problem
from longconv.bench.record import Numbers, Record
from longconv.bench.stats import geometric_mean
from longconv.bench.summary import Setting, measured, pass_of

# Okabe and Ito's palette: distinguishable with any colour vision.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_Entry = tuple[Record, Numbers]
_Point = tuple[float, float]
_Points = dict[tuple[str, float], list[_Point]]


def draw(records: Sequence[Record], path: pathlib.Path) -> None:
    """Writes the picture. Raises ValueError if no record holds numbers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    entries = measured(records)
    if not entries:
        raise ValueError("nothing to draw: no problem was measured")
    passes = [name for name in PASSES if any(pass_of(record) == name for record, _ in entries)]
    series = list(dict.fromkeys(_series(record) for record, _ in entries))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(series)}
    most_cases = max(len({r["case"] for r, _ in entries if pass_of(r) == name}) for name in passes)
    bars_height = max(2.0, most_cases * (0.10 + 0.14 * len(series)) + 0.6)
    figure, axes = plt.subplots(
        2,
        len(passes),
        figsize=(max(7.0, 5.6 * len(passes)), bars_height + 5.4),
        height_ratios=(bars_height, 4.6),
        squeeze=False,
        layout="constrained",
    )
    numbers_of_cases = {case: index for index, case in enumerate(dict.fromkeys(r["case"] for r, _ in entries), start=1)}
    points = []
    for column, name in enumerate(passes):
        of_pass = [(record, numbers) for record, numbers in entries if pass_of(record) == name]
        _draw_ratios(axes[0][column], of_pass, colours, name, numbers_of_cases, legend_offset=0.22 / bars_height)
        points.append(_draw_roofline(axes[1][column], of_pass, colours))
    figure.suptitle(_title(entries), fontsize=11)
    figure.draw_without_rendering()  # fixes the layout, which the labels' places depend on
    for axis, of_pass_points in zip(axes[1], points):
        _label_points(axis, of_pass_points, numbers_of_cases)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _series(record: Record) -> str:
    setting = Setting.of(record)
    pages = {"as-it-comes": "as it comes", "on": "with huge pages"}[setting.huge_pages]
    return setting.arithmetic if setting.kind == "cuda" else f"{setting.arithmetic}, {pages}"


def _title(entries: Sequence[_Entry]) -> str:
    record = entries[-1][0]
    setting, versions = Setting.of(record), record["versions"]
    threads = f", {setting.threads} thread{'s' if setting.threads > 1 else ''}" if setting.kind == "cpu" else ""
    commit = record["source"]["commit"]
    return (
        f"longconv {versions['longconv']} ({commit[:10] if commit else 'unknown commit'}) and "
        f"PyTorch {versions['torch']} ({versions['backend']}) on "
        f"{setting.device} ({setting.isa}{threads}), {record['date'][:10]}"
    )


def _draw_ratios(
    axis: Any,
    entries: Sequence[_Entry],
    colours: dict[str, str],
    pass_name: str,
    numbers_of_cases: dict[str, int],
    legend_offset: float,
) -> None:
    cases = list(dict.fromkeys(record["case"] for record, _ in entries))
    series = [name for name in colours if any(_series(record) == name for record, _ in entries)]
    height = 0.8 / len(series)
    for index, name in enumerate(series):
        found = [
            (cases.index(record["case"]), numbers["ratio"]) for record, numbers in entries if _series(record) == name
        ]
        centres = [row + (index - (len(series) - 1) / 2) * height for row, _ in found]
        medians = [ratio["median"] for _, ratio in found]
        below = [ratio["median"] - ratio["low"] for _, ratio in found]
        above = [ratio["high"] - ratio["median"] for _, ratio in found]
        mean = geometric_mean(medians)
        axis.barh(
            centres,
            [median - 1 for median in medians],  # bars start at 1: left of it longconv is slower
            height=height * 0.92,
            left=1,
            xerr=[below, above],
            color=colours[name],
            error_kw={"elinewidth": 0.8, "ecolor": "#222222"},
            label=f"{name}: geometric mean {mean:.2f}",
        )
        for centre, ratio in zip(centres, (entry for _, entry in found)):
            axis.annotate(
                f"{ratio['median']:.2f}",
                (max(ratio["high"], 1.0), centre),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
    axis.axvline(1, color="#222222", linewidth=0.9)
    axis.set_xscale("log", base=2)
    lows = [numbers["ratio"]["low"] for _, numbers in entries]
    highs = [numbers["ratio"]["high"] for _, numbers in entries]
    axis.set_xlim(min(0.9, min(lows) * 0.93), max(2.0, max(highs)) * 1.35)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axis.set_yticks(range(len(cases)), [f"{case}  {numbers_of_cases[case]}" for case in cases], fontsize=8)
    axis.set_ylim(len(cases) - 0.5, -0.5)
    axis.grid(axis="x", linewidth=0.4, color="#cccccc")
    axis.set_axisbelow(True)
    axis.set_title(f"{pass_name}: PyTorch's time over ours", fontsize=10)
    axis.legend(fontsize=7.5, loc="lower center", bbox_to_anchor=(0.5, 1 + legend_offset), frameon=False, ncols=1)


def _draw_roofline(axis: Any, entries: Sequence[_Entry], colours: dict[str, str]) -> _Points:
    """FLOPs per compulsory byte against FLOP/s: longconv filled, PyTorch hollow, a line between the two.

    Returns the points of each case and intensity (which the dtype's size changes).
    """
    problems = [Problem.parse(record["problem"]) for record, _ in entries]
    intensities = [problem.flops / problem.compulsory_bytes for problem in problems]
    left, right = min(intensities) / 2, max(intensities) * 2
    points: _Points = {}
    drawn_roofs = set()
    for (record, numbers), exact_intensity in zip(entries, intensities):
        name = _series(record)
        intensity = exact_intensity * 1.06 ** list(colours).index(name)  # side by side, not on top of each other
        ours = numbers["gflops"]
        theirs = ours * numbers["ours_ms"]["median"] / numbers["pytorch_ms"]["median"]
        axis.plot([intensity, intensity], [theirs, ours], color=colours[name], linewidth=0.8, alpha=0.6)
        axis.plot(intensity, theirs, "o", markersize=4.5, markerfacecolor="white", markeredgecolor=colours[name])
        axis.plot(intensity, ours, "o", markersize=5, color=colours[name])
        points.setdefault((record["case"], exact_intensity), []).extend([(intensity, theirs), (intensity, ours)])
        copy, gemm = numbers["roofline"]["copy_gbps"], numbers["roofline"]["gemm_gflops"] or math.inf
        if (name, copy, gemm) not in drawn_roofs:
            drawn_roofs.add((name, copy, gemm))
            ridge = min(max(gemm / copy, left), right)
            corners = [left, ridge, right]
            axis.plot(corners, [min(gemm, x * copy) for x in corners], color=colours[name], linewidth=1.2)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(left, right)
    axis.margins(y=0.12)
    axis.set_xlabel("FLOP per compulsory byte", fontsize=9)
    axis.set_ylabel("GFLOP/s", fontsize=9)
    axis.grid(which="major", linewidth=0.4, color="#cccccc")
    axis.set_axisbelow(True)
    axis.plot([], [], "o", color="#222222", markersize=5, label="longconv")
    axis.plot([], [], "o", markerfacecolor="white", markeredgecolor="#222222", markersize=4.5, label="PyTorch")
    axis.plot([], [], color="#222222", linewidth=1.2, label="measured copy and GEMM rate")
    axis.legend(fontsize=7.5, loc="lower right", title="numbers: the cases above", title_fontsize=7.5)
    return points


def _label_points(axis: Any, points: _Points, numbers_of_cases: dict[str, int]) -> None:
    """The case's number above its highest point, raised until it covers neither a number nor a point."""

    def place(point: _Point) -> _Point:  # in typographic points
        x, y = axis.transData.transform(point) * (72 / axis.figure.dpi)
        return float(x), float(y)

    taken = [place(point) for of_case in points.values() for point in of_case]
    for (case, _), of_case in sorted(points.items(), key=lambda item: max(item[1], key=lambda point: point[1])):
        highest = max(of_case, key=lambda point: point[1])
        x, y = place(highest)
        offset = 8.0
        while any(abs(x - other_x) < 9.0 and abs(y + offset - other_y) < 7.5 for other_x, other_y in taken):
            offset += 1.0
        taken.append((x, y + offset))
        axis.annotate(
            str(numbers_of_cases[case]),
            highest,
            xytext=(0, offset),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7.5,
            color="#222222",
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#888888"} if offset > 14 else None,
        )
