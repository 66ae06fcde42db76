# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""tools/report: the end of a long log says what every runner said last, and a run without an ending is a failure."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell script")

REPORT = Path(__file__).resolve().parents[2] / "tools" / "report"
CLOSING_LINES = {
    "pytest": "=========== 1065 passed, 9 skipped in 301.52s ===========",
    "ctest": "100% tests passed, 0 tests failed out of 251",
    "longconv_compile_kernels": "94 compilations, 0 failed, 2 skipped",
    "a runner that had nothing to run": "SKIPPED: PyTorch 1.13 is not to be had here",
}


def report(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The script works in the folder above its own, so a copy has its own logs."""
    script = folder / "tools" / "report"
    if not script.exists():
        script.parent.mkdir()
        shutil.copy(REPORT, script)
    return subprocess.run([script, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("runner", CLOSING_LINES)
def test_the_closing_line_of_every_runner_is_shown(tmp_path: Path, runner: str) -> None:
    ran = report(tmp_path, "run", runner, "printf", "%s\n", "much before", CLOSING_LINES[runner])
    assert ran.returncode == 0, ran.stderr
    printed = report(tmp_path, "print")
    assert printed.returncode == 0, printed.stderr
    assert f"--- {runner}\n{CLOSING_LINES[runner]}\n" in printed.stdout
    assert "much before" not in printed.stdout


def test_a_run_without_a_closing_line_fails(tmp_path: Path) -> None:
    report(tmp_path, "run", "cut short", "echo", "collected 12 items")
    printed = report(tmp_path, "print")
    assert printed.returncode == 1
    assert "no closing line found in build/test-logs/cut short.log" in printed.stderr


def test_a_failing_run_keeps_its_status(tmp_path: Path) -> None:
    assert report(tmp_path, "run", "broken", "sh", "-c", "exit 7").returncode == 7
