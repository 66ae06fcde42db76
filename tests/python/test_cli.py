# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The command line: what it prints, and its exit status."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import longconv
from longconv import doctor
from longconv.cli import main

HEADLINE = "fprop n64 c64->128 l524280 k3 s3 d4 f32"


def test_plan(capsys):
    assert main(["plan", HEADLINE]) == 0
    text = capsys.readouterr().out
    assert "n64 c64->128 l524280 k3 s3 d4 f32" in text
    assert "workspace" in text
    assert main(["plan", *HEADLINE.split()]) == 0
    assert capsys.readouterr().out == text


def test_plan_for_other_threads(capsys):
    assert main(["plan", "--threads", "7", HEADLINE]) == 0
    assert "threads7 " in capsys.readouterr().out
    assert main(["plan", "--threads", "0", HEADLINE]) == 2
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["q7", "k", "c64-128", "k3.5", "float"])
def test_plan_names_the_word_it_does_not_understand(word, capsys):
    assert main(["plan", f"fprop n1 l100 {word}"]) == 2
    captured = capsys.readouterr()
    assert word in captured.err
    assert "example:" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "problem", ["fprop l5 k9", "c3->4 g2 l9", "l9 s0", "l9223372036854775807 c4->4", "i64 relu l9"]
)
def test_plan_of_an_impossible_problem(problem, capsys):
    assert main(["plan", problem]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("longconv plan: ")
    assert captured.out == ""


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in (longconv.__version__, torch.__version__, "huge pages", "cuda", "self-test", "float32", "bfloat16"):
        assert word in text
    assert "FAIL" not in text


def test_doctor_finds_wrong_results(monkeypatch, capsys):
    right = doctor.conv1d
    monkeypatch.setattr(doctor, "conv1d", lambda x, w, **k: right(x, w, **k) * (1 + 1e-2))
    assert main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("FAIL") == 4
    assert "does not work" in captured.err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["plan", "--help"], ["doctor", "--help"], ["bench", "--help"]])
def test_help(arguments, capsys):
    status = main(arguments)
    captured = capsys.readouterr()
    if arguments:
        assert status == 0
        assert "usage: longconv" in captured.out
    else:
        assert status == 2
        assert "COMMAND" in captured.err


def test_unknown_command(capsys):
    assert main(["convolve"]) == 2
    assert "convolve" in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"longconv {longconv.__version__}\n"


def test_runs_as_a_module():
    run = subprocess.run(
        [sys.executable, "-m", "longconv", "plan", HEADLINE], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "l524280" in run.stdout
