# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Records as plain text: an aligned table, geometric means, odd sizes, and a line that replays each case."""

from __future__ import annotations

from collections.abc import Sequence

from longconv.bench.problem import Problem
from longconv.bench.record import Numbers, Record
from longconv.bench.summary import GeometricMean, Setting, geometric_means, odd_sizes

_HEADINGS = (
    "case",
    "pass",
    "type",
    "huge pages",
    "ours ms",
    "IQR",
    "PyTorch ms",
    "IQR",
    "ratio",
    "95 %",
    "GFLOP/s",
    "GB/s",
    "roofline",
    "PyTorch's",
    "extra MiB",
    "PyTorch's",
    "rounds",
)
_LEFT_ALIGNED = 4

LEGEND = """\
ratio      PyTorch's time over ours: median of the per-round ratios, with its 95 % bootstrap interval
IQR        interquartile range in per cent of the median
roofline   share of max(bytes / copy rate, FLOPs / GEMM rate); b: bytes are the larger term, f: FLOPs
extra MiB  most memory in use during a call beyond operands and result
rounds     kept, +dropped because a thread was preempted; ~ marks a disturbed measurement (nothing dropped)"""


def milliseconds(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.{2 if value < 10 else 1}f}" if value >= 1 else f"{value:.3f}"


def render(records: Sequence[Record]) -> str:
    """Everything that a run prints on standard output."""
    rows = [_HEADINGS] + [_row(record, numbers) for record in records if (numbers := record["numbers"]) is not None]
    parts = [align(rows, _LEFT_ALIGNED)] if len(rows) > 1 else []
    errors = [(record["case"], record["problem"], record["error"] or "") for record in records if record["error"]]
    if errors:
        parts.append("not measured:\n" + align(errors, 3))
    means = geometric_means(records)
    if means:
        parts.append("geometric means of the ratio:\n" + "\n".join(f"  {mean_line(mean)}" for mean in means))
    odd = odd_sizes(records)
    if odd:
        lines = [("", "pass", "ours", "PyTorch's")]
        for entry in odd[:10]:
            name, pass_name = entry.record["case"], Problem.parse(entry.record["problem"]).pass_name
            lines.append((name, pass_name, f"{entry.slowdown:.2f}", f"{entry.pytorch_slowdown:.2f}"))
        parts.append("odd sizes, time per element over that of the round neighbour, worst first:\n" + align(lines, 2))
    if records:
        parts.append("replay:\n" + "\n".join(f"  {record['replay']}" for record in records))
    if len(rows) > 1:
        parts.append(_rates(records))
        parts.append(LEGEND)
    return "\n\n".join(parts)


def mean_line(mean: GeometricMean) -> str:
    """One mean in words."""
    pages = "" if mean.setting.huge_pages == "as-it-comes" else ", huge pages"
    failed = f", {mean.failed} not measured" if mean.failed else ""
    return (
        f"{mean.pass_name} {mean.setting.arithmetic}{pages}: {mean.ratio:.2f} over {mean.cases} cases{failed}; "
        f"least {mean.worst_ratio:.2f} ({mean.worst_case})"
    )


def progress_line(record: Record) -> str:
    """One finished measurement, short."""
    numbers = record["numbers"]
    if numbers is None:
        return f"{record['problem']}: {record['error']}"
    ratio = numbers["ratio"]
    return (
        f"{record['problem']}: {milliseconds(numbers['ours_ms']['median'])} ms, "
        f"PyTorch {milliseconds(numbers['pytorch_ms']['median'])} ms, "
        f"ratio {ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    )


def _row(record: Record, numbers: Numbers) -> tuple[str, ...]:
    setting = Setting.of(record)
    ours, theirs, ratio, roof = numbers["ours_ms"], numbers["pytorch_ms"], numbers["ratio"], numbers["roofline"]
    rounds = numbers["rounds"]
    dropped = len(rounds["dropped"])
    return (
        record["case"],
        Problem.parse(record["problem"]).pass_name,
        setting.arithmetic,
        setting.huge_pages if setting.kind == "cpu" else "-",
        milliseconds(ours["median"]),
        f"{100 * (ours['q3'] - ours['q1']) / ours['median']:.0f}%",
        milliseconds(theirs["median"]),
        f"{100 * (theirs['q3'] - theirs['q1']) / theirs['median']:.0f}%",
        f"{ratio['median']:.2f}",
        f"{ratio['low']:.2f}-{ratio['high']:.2f}",
        f"{numbers['gflops']:.1f}",
        f"{numbers['gbps']:.1f}",
        f"{roof['ours_fraction']:.2f} {roof['bound'][0]}",
        f"{roof['pytorch_fraction']:.2f}",
        _mebibytes(numbers["extra_bytes_ours"]),
        _mebibytes(numbers["extra_bytes_pytorch"]),
        f"{rounds['total'] - dropped}" + (f"+{dropped}" if dropped else "") + ("~" if rounds["disturbed"] else ""),
    )


def _mebibytes(value: int | None) -> str:
    return "?" if value is None else f"{value / 2**20:.1f}"


def _rates(records: Sequence[Record]) -> str:
    lines = []
    for record in records:
        setting, numbers = Setting.of(record), record["numbers"]
        if numbers is not None:
            roof = numbers["roofline"]
            gemm = roof["gemm_gflops"]
            product = "no matrix product" if gemm is None else f"GEMM {gemm:.0f} GFLOP/s"
            how = f", {setting.threads} threads, huge pages {setting.huge_pages}" if setting.kind == "cpu" else ""
            where = f"{setting.device} ({setting.isa}{how}), {setting.arithmetic}"
            lines.append(f"{where}: copy {roof['copy_gbps']:.1f} GB/s, {product}")
    return "\n".join(dict.fromkeys(lines))


def align(rows: Sequence[Sequence[str]], left_aligned: int) -> str:
    """Columns as wide as their widest cell, two spaces apart; the first `left_aligned` to the left, the rest right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < left_aligned else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
