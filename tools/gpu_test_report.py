# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Where it ran, what ran, what failed: as Markdown."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
import subprocess

from gpu_test_jobs import Outcome

_FACTS = """\
import json, os, platform, sys, torch
found = {"python": platform.python_version(), "torch": torch.__version__, "cuda": str(torch.version.cuda)}
found["gpu"], found["gpus"], found["gpu GiB"] = "none", str(torch.cuda.device_count()), "0"
if torch.cuda.is_available():
    p = torch.cuda.get_device_properties(0)
    found["gpu"] = f"{p.name}, compute capability {p.major}.{p.minor}, {p.multi_processor_count} multiprocessors"
    found["gpu GiB"] = f"{p.total_memory / 2**30:.1f}"
    found["cudnn"] = str(torch.backends.cudnn.version())
try:
    import longconv
    here = os.path.realpath(longconv.__file__).startswith(os.path.realpath(sys.argv[1]) + os.sep)
    found["longconv"] = "ok, " + ", ".join(longconv.build_info().splitlines()[:3]) if here else "another one is installed"
    from longconv._ops import _nvrtc_folders, diagnose_cuda
    libraries = [os.path.join(f, n) for f in _nvrtc_folders() for n in sorted(os.listdir(f)) if n.startswith("libnvrtc.so")]
    found["nvrtc library"] = libraries[-1] if libraries else ""
    if torch.cuda.is_available():
        line = next((l for l in diagnose_cuda().splitlines() if l.startswith("nvrtc")), "nvrtc unknown")
        found["nvrtc"] = line[len("nvrtc") :].rsplit(", ", 1)[0].strip()
except ImportError as error:
    found["longconv"] = f"does not load: {error}"
print("FACTS" + json.dumps(found))
"""
_MOST_FAILURES = 12  # named for each job
_LOG_LINES = 25


def facts(root: pathlib.Path, python: str, environment: dict[str, str], bundle: pathlib.Path) -> dict[str, str]:
    """What the results depend on. Names and numbers, no path."""
    found = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}
    found["commit"] = _commit(root, bundle)
    done = subprocess.run(
        [python, "-c", _FACTS, str(root)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FACTS")]
    if lines:
        found.update(json.loads(lines[0][len("FACTS") :]))
    else:
        found.update(
            {"gpu": "none", "gpus": "0", "gpu GiB": "0", "longconv": "unknown", "problem": done.stderr.strip()[-500:]}
        )
    found["driver"] = _driver()
    found["cores"] = str(os.cpu_count())
    return found


def _commit(root: pathlib.Path, bundle: pathlib.Path) -> str:
    """Of VERSION in the environment, of the history, or of the bundle, in this order."""
    if os.environ.get("VERSION"):
        return os.environ["VERSION"]
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    try:
        return (bundle / "COMMIT").read_text().strip()
    except OSError:
        return "unknown"


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else "unknown"


def write_report(
    path: pathlib.Path, what: dict[str, str], outcomes: list[Outcome], skipped: dict[str, str], rehearsal: bool
) -> None:
    """Replaces the file."""
    lines = ["# Tests on a GPU" + (": rehearsal without one" if rehearsal else ""), ""]
    lines += ["Written by `make gpu-test` (`tools/gpu-test`).", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in what.items()]
    bad = [outcome for outcome in outcomes if outcome.status != "passed"]
    tests = sum(outcome.counts.get("tests", 0) for outcome in outcomes)
    failed = sum(outcome.counts.get("failed", 0) for outcome in outcomes)
    left_out = sum(outcome.counts.get("skipped", 0) for outcome in outcomes)
    verdict = "All passed." if not bad else f"{len(bad)} of {len(outcomes)} jobs did not pass."
    lines += ["", f"**{verdict}** {tests} tests, {failed} failed, {left_out} skipped.", ""]
    lines += [f"**{name}: {why}.**" + "\n" for name, why in skipped.items()]
    lines += ["| job | result | tests | failed | skipped | seconds |", "|---|---|---:|---:|---:|---:|"]
    for outcome in sorted(outcomes, key=lambda entry: entry.name):
        cells = [str(outcome.counts.get(key, "")) for key in ("tests", "failed", "skipped")]
        lines.append(f"| {outcome.name} | {outcome.status} | {' | '.join(cells)} | {outcome.seconds:.0f} |")
    for outcome in bad:
        lines += ["", f"## {outcome.name}: {outcome.status}", ""]
        lines += [f"- `{' '.join(text.split())}`" for text in outcome.failures[:_MOST_FAILURES]]
        if len(outcome.failures) > _MOST_FAILURES:
            lines.append(f"- and {len(outcome.failures) - _MOST_FAILURES} more")
        if not outcome.failures and outcome.log:
            tail = pathlib.Path(outcome.log).read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
            lines += ["```", *(line[:300] for line in tail), "```"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_without_paths("\n".join(lines) + "\n"), encoding="utf-8")


def _without_paths(text: str) -> str:
    """Where things lie on that machine is nobody's business."""
    text = text.replace(str(pathlib.Path(__file__).resolve().parents[1]) + os.sep, "")
    return re.sub(r"/[\w./+-]*/(?=(site|dist)-packages/)", "", text)
