# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Records of a GPU as Markdown: beside the ratio to cuDNN what the hardware allows, memory and accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from longconv.bench.problem import PASSES, Problem
from longconv.bench.record import Numbers, Record
from longconv.bench.stats import geometric_mean
from longconv.bench.summary import measured, pass_of
from longconv.bench.table import milliseconds

_HEADING = ("case", "problem", "ms: ours, cuDNN", "ratio", "x copy", "of roofline", "extra MiB", "error x 1e6")
DENSE_CHANNELS = 16
_TITLES = {
    "fprop": "Forward",
    "dgrad": "Gradient of the signal",
    "wgrad": "Gradient of the weight",
    "transposed": "Transposed convolution",
}


def is_dense(problem: Problem) -> bool:
    """What the tensor-core kernels are for; few channels and groups have goals of their own."""
    return problem.groups == 1 and problem.in_channels >= DENSE_CHANNELS


def markdown(group: Sequence[Record]) -> str:
    """A table for each pass, and what cannot be said in a row."""
    parts = []
    for name in PASSES:
        of_pass = [record for record in group if pass_of(record) == name]
        if measured(of_pass):
            parts.append(f"{_TITLES[name]}:\n\n{_table(of_pass)}")
    return "\n\n".join([*parts, _notes(group)])


def _table(group: Sequence[Record]) -> str:
    rows = [_HEADING, ("---", "---", *["---:"] * (len(_HEADING) - 2))]
    for record in group:
        numbers, problem = record["numbers"], Problem.parse(record["problem"])
        shape = f"`{problem.in_pass('fprop').shape}`"
        name = f"{record['case']}: {record['what']}"
        if numbers is None:
            rows.append((name, shape, (record["error"] or "").split(":")[0], *[""] * (len(_HEADING) - 3)))
        else:
            rows.append((name, shape, *_cells(numbers)))
    entries = measured(group)
    rows.append(_mean_row("geometric mean", entries))
    dense = [entry for entry in entries if is_dense(Problem.parse(entry[0]["problem"]))]
    if dense and len(dense) < len(entries):
        rows.append(_mean_row(f"of these dense (one group, at least {DENSE_CHANNELS} channels)", dense))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cells(numbers: Numbers) -> tuple[str, ...]:
    ours, theirs, roof, copy = numbers["ours_ms"], numbers["pytorch_ms"], numbers["roofline"], numbers["copy_ms"]
    return (
        f"{milliseconds(ours['median'])}, {milliseconds(theirs['median'])}",
        f"**{numbers['ratio']['median']:.2f}**",
        "" if copy is None else f"{ours['median'] / copy:.2f}",
        f"{roof['ours_fraction']:.2f}",
        ", ".join(_mebibytes(numbers[key]) for key in ("extra_bytes_ours", "extra_bytes_pytorch")),
        _errors(numbers["error_ours"], numbers["error_pytorch"]),
    )


def _mean_row(title: str, entries: Sequence[tuple[Record, Numbers]]) -> tuple[str, ...]:
    ratios = [numbers["ratio"]["median"] for _, numbers in entries]
    least = f"least {min(ratios):.2f}"
    return (f"**{title}**", "", least, f"**{geometric_mean(ratios):.2f}**", *[""] * (len(_HEADING) - 4))


def _mebibytes(value: int | None) -> str:
    return "?" if value is None else f"{value / 2**20:.1f}" if value < 10 << 20 else f"{value / 2**20:.0f}"


def _errors(*values: float | None) -> str:
    """Empty where no reference was made."""
    return ", ".join(f"{value * 1e6:.3g}" for value in values if value is not None)


def _notes(group: Sequence[Record]) -> str:
    numbers = [entry for _, entry in measured(group)]
    roofs = [entry["roofline"] for entry in numbers]
    gemm = max((roof["gemm_gflops"] or 0.0 for roof in roofs), default=0.0)
    text = f"Measured in the same run: copy {max(roof['copy_gbps'] for roof in roofs):.0f} GB/s, matrix product "
    text += (
        f"{gemm / 1e3:.0f} TFLOP/s. Ratio: cuDNN's time (benchmark mode) over ours, median of paired rounds; x copy: "
    )
    text += "our time over that of a device copy that moves the compulsory bytes; error: relative RMS error against float64."
    first = [entry["first_call_ms"] for entry in numbers if entry["first_call_ms"] is not None]
    if first:
        text += f" First call of a shape with nothing compiled: {statistics.median(first) / 1e3:.1f} s, at most "
        text += f"{max(first) / 1e3:.1f} s."
    planned = [(e["planner"]["chosen_over_best"], r["case"]) for r, e in measured(group) if e["planner"] is not None]
    if planned:
        worst, case = max(planned)
        text += f" The planner's choice against the best config of its list: at worst {worst:.2f} ({case})."
    return text


def host_line(group: Sequence[Record]) -> str:
    """Records that were taken with the host's clock, in a sentence."""
    texts = [
        f"{record['case']} {milliseconds(numbers['ours_ms']['median'] * 1e3)} us (`F.conv1d` "
        f"{milliseconds(numbers['pytorch_ms']['median'] * 1e3)} us)"
        for record, numbers in measured(group)
    ]
    return f"The host's time for a warm call: {'; '.join(texts)}."
