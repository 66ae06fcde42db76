# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Processes side by side within a budget of cores, devices' memory and time; each has a log and a time limit."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import time
import xml.etree.ElementTree
from collections.abc import Sequence
from typing import Callable


@dataclasses.dataclass
class Job:
    name: str
    command: list[str]
    limit: float  # seconds
    gib: float = 2.0  # device memory it may take
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    junit: str | None = None
    sees_all_devices: bool = False  # else it is given one


@dataclasses.dataclass
class Outcome:
    """status: passed, failed, timeout, or not run (the time for everything was over)."""

    name: str
    status: str
    seconds: float
    log: str
    counts: dict[str, int] = dataclasses.field(default_factory=dict)  # tests, failures, errors, skipped
    failures: list[str] = dataclasses.field(default_factory=list)

    @property
    def counts_text(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in self.counts.items() if count)


@dataclasses.dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    log: pathlib.Path
    start: float
    device: str


def run_all(
    jobs: list[Job],
    logs: pathlib.Path,
    processes: int,
    memory_gib: float,
    deadline: float,
    finished: Callable[[Outcome], None],
    devices: Sequence[str] = ("",),
) -> list[Outcome]:
    """Starts jobs in order as soon as a process and memory are free; `deadline` is of time.monotonic().

    devices: what CUDA_VISIBLE_DEVICES calls them, "" for what it says already. Each has `memory_gib`; a job goes to the one
    with most of it free. A job that asks for more than there is runs when no other does there. What was not started by the
    deadline is reported as not run.
    """
    waiting, running, outcomes = list(jobs), list[_Running](), list[Outcome]()

    def used(device: str) -> float:
        return sum(entry.job.gib for entry in running if entry.device == device)

    def report(outcome: Outcome) -> None:
        outcomes.append(outcome)
        finished(outcome)

    try:
        while waiting or running:
            now = time.monotonic()
            for entry in list(running):
                late = now - entry.start > entry.job.limit or now > deadline
                if entry.process.poll() is None and late:
                    _kill(entry.process)
                    status = "timeout"
                elif entry.process.poll() is not None:
                    status = "passed" if entry.process.returncode == 0 else "failed"
                else:
                    continue
                running.remove(entry)
                report(_outcome(entry, status, now - entry.start))
            for job in list(waiting):
                device = min(devices, key=used)
                if now > deadline:
                    waiting.remove(job)
                    report(Outcome(job.name, "not run", 0.0, ""))
                elif len(running) < processes and (used(device) + job.gib <= memory_gib or used(device) == 0):
                    waiting.remove(job)
                    running.append(_start(job, logs, device))
            if running:
                time.sleep(0.05)
    finally:
        for entry in running:
            _kill(entry.process)
    return outcomes


def _start(job: Job, logs: pathlib.Path, device: str) -> _Running:
    log = logs / f"{job.name}.log"
    visible = {"CUDA_VISIBLE_DEVICES": device} if device and not job.sees_all_devices else {}
    with log.open("wb") as file:
        process = subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **visible, **job.environment},
            start_new_session=True,
        )
    return _Running(job, process, log, time.monotonic(), device)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # the job and its children: it leads a session of its own
        process.wait()


def _outcome(entry: _Running, status: str, seconds: float) -> Outcome:
    outcome = Outcome(entry.job.name, status, seconds, str(entry.log))
    if entry.job.junit is not None:
        try:
            _read_junit(entry.job.junit, outcome)
        except (OSError, xml.etree.ElementTree.ParseError, ValueError):
            if status == "passed":  # it must have written what it did
                outcome.status = "failed"
                outcome.failures.append("wrote no list of its tests")
    return outcome


def _read_junit(path: str, outcome: Outcome) -> None:
    root = xml.etree.ElementTree.parse(path).getroot()
    cases = list(root.iter("testcase"))
    outcome.counts = {"tests": len(cases), "failed": 0, "skipped": 0}
    for case in cases:
        failure = case.find("failure")
        failure = case.find("error") if failure is None else failure
        if failure is not None:
            outcome.counts["failed"] += 1
            message = (failure.get("message") or failure.text or "").strip()
            outcome.failures.append(f"{case.get('classname')}.{case.get('name')}: {message[:400]}")
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            outcome.counts["skipped"] += 1
