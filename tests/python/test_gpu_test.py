# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""tools/gpu-test: jobs side by side within their limits, and a report that hides nothing."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups")

TOOLS = Path(__file__).resolve().parents[2] / "tools"
PASSING = """<testsuites><testsuite><testcase classname="a" name="b"/><testcase classname="a" name="c"><skipped/></testcase>
</testsuite></testsuites>"""
FAILING = """<testsuites><testsuite><testcase classname="a" name="b"><failure message="3 times the bound">t</failure></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def modules(monkeypatch):
    if not TOOLS.is_dir():
        pytest.skip("not a source checkout")
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("gpu_test_jobs"), importlib.import_module("gpu_test_report")


def test_jobs_run_side_by_side_within_memory_and_limits(modules, tmp_path):
    jobs_module, _ = modules
    xml = tmp_path / "f.xml"
    touch = f"printf '%s' '{PASSING}' > {xml}"
    jobs = [
        jobs_module.Job("large", ["sh", "-c", "sleep 0.3"], 60, gib=8),
        jobs_module.Job("large too", ["sh", "-c", "sleep 0.3"], 60, gib=8),
        jobs_module.Job("passes", ["sh", "-c", touch], 60, junit=str(xml)),
        jobs_module.Job("fails", ["sh", "-c", "echo $WHY; exit 3"], 60, environment={"WHY": "because"}),
        jobs_module.Job("hangs", ["sh", "-c", "sleep 60 & wait"], 0.3),
        jobs_module.Job("silent", ["true"], 60, junit=str(tmp_path / "none.xml")),
    ]
    seen = []
    start = time.monotonic()
    outcomes = jobs_module.run_all(jobs, tmp_path, 4, 10.0, start + 30, seen.append)
    assert time.monotonic() - start < 20
    assert seen == outcomes
    status = {outcome.name: outcome.status for outcome in outcomes}
    assert status == {
        "large": "passed",
        "large too": "passed",
        "passes": "passed",
        "fails": "failed",
        "hangs": "timeout",
        "silent": "failed",
    }
    assert (tmp_path / "fails.log").read_text() == "because\n"
    passed = next(outcome for outcome in outcomes if outcome.name == "passes")
    assert passed.counts == {"tests": 2, "failed": 0, "skipped": 1}


def test_jobs_are_dealt_to_devices_by_their_free_memory(modules, tmp_path):
    jobs_module, _ = modules
    say = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES; sleep 0.3"]
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    jobs = [
        jobs_module.Job("large", say, 60, gib=20),  # more than there is: alone
        jobs_module.Job("small", say, 60, gib=2),
        jobs_module.Job("small too", say, 60, gib=2),
        jobs_module.Job("all", say, 60, gib=1, environment=environment, sees_all_devices=True),
    ]
    outcomes = jobs_module.run_all(jobs, tmp_path, 4, 10.0, time.monotonic() + 30, lambda outcome: None, ("5", "7"))
    assert all(outcome.status == "passed" for outcome in outcomes)
    seen = {job.name: (tmp_path / f"{job.name}.log").read_text().strip() for job in jobs}
    assert seen == {"large": "5", "small": "7", "small too": "7", "all": ""}


def test_what_did_not_start_in_time_is_reported(modules, tmp_path):
    jobs_module, report = modules
    jobs = [jobs_module.Job(name, ["sleep", "30"], 60) for name in ("a", "b")]
    outcomes = jobs_module.run_all(jobs, tmp_path, 1, 10.0, time.monotonic() + 0.3, lambda outcome: None)
    assert {outcome.name: outcome.status for outcome in outcomes} == {"a": "timeout", "b": "not run"}
    report.write_report(tmp_path / "r.md", {"gpu": "none"}, outcomes, {}, False)
    assert "2 of 2 jobs did not pass" in (tmp_path / "r.md").read_text()


def test_the_report_names_failures_and_what_was_left_out(modules, tmp_path):
    jobs_module, report = modules
    xml = tmp_path / "f.xml"
    xml.write_text(FAILING)
    jobs = [
        jobs_module.Job("kernels", ["false"], 60, junit=str(xml)),
        jobs_module.Job("other", ["sh", "-c", f"echo why; echo {TOOLS}/x /a/lib/site-packages/y; false"], 60),
    ]
    outcomes = jobs_module.run_all(jobs, tmp_path, 2, 10.0, time.monotonic() + 30, lambda outcome: None)
    skipped = {"cpp": "NOT RUN: no GoogleTest here"}
    report.write_report(tmp_path / "deep" / "r.md", {"gpu": "a | b"}, outcomes, skipped, True)
    text = (tmp_path / "deep" / "r.md").read_text()
    assert "rehearsal" in text
    assert "**cpp: NOT RUN: no GoogleTest here.**" in text
    assert "| kernels | failed | 1 | 1 | 0 |" in text
    assert "a.b: 3 times the bound" in text
    assert "why" in text
    assert str(TOOLS.parent) not in text


def test_without_a_gpu_it_says_so(modules):
    """The whole script, but for the build; a rehearsal of one small job."""
    command = [sys.executable, str(TOOLS / "gpu-test"), "--no-build", "--list", "--rehearse", "--only", "doctor|large"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if "is not the one that Python loads" in done.stderr:
        pytest.skip("longconv is installed from elsewhere")
    assert done.returncode == 0, done.stderr
    names = [line.split(":")[0] for line in done.stdout.splitlines() if ": " in line]
    assert {"doctor", "large"} <= set(names)
