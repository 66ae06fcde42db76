# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""tools/bootstrap on machines that lack something: it names what is missing, with the line that installs it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BOOTSTRAP = Path(__file__).resolve().parents[2] / "tools" / "bootstrap"
TOOLS = ("cat", "cksum", "cut", "dirname", "env", "grep", "sh")


@pytest.fixture
def machine(tmp_path):
    """A folder that is the whole PATH: an ordinary user's, with basic tools only."""
    for tool in TOOLS:
        (tmp_path / tool).symlink_to(shutil.which(tool))
    command(tmp_path, "id", "echo 1000")
    command(tmp_path, "python3", "exit 0")
    return tmp_path


def command(machine, name, body):
    path = machine / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def bootstrap(machine, *groups):
    return subprocess.run(
        ["sh", BOOTSTRAP, *groups], env={"PATH": str(machine)}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_names_a_missing_compiler(machine):
    result = bootstrap(machine, "build")
    assert result.returncode == 3
    assert "sudo apt-get install -y g++\n" in result.stderr


def test_an_old_compiler_is_no_compiler(machine):
    command(machine, "g++", "echo 9.4.0")
    assert "apt-get install -y g++\n" in bootstrap(machine, "build").stderr
    command(machine, "g++", "echo 10")
    assert "g++" not in bootstrap(machine, "fuzz").stderr


def test_names_all_that_is_missing_at_once(machine):
    command(machine, "python3", "exit 1")
    command(machine, "g++", '[ "$1" = -dumpversion ] && echo 12')
    result = bootstrap(machine, "build", "test")
    assert result.returncode == 3
    assert "sudo apt-get install -y python3-venv libgtest-dev\n" in result.stderr


def test_installs_where_that_takes_no_question(machine):
    command(machine, "id", "echo 0")
    log = machine / "log"
    command(machine, "apt-get", f'echo "$*" >>{log}')
    result = bootstrap(machine, "fuzz")
    # It asked apt for both, and did not believe that they are there now.
    assert log.read_text().splitlines()[1].endswith("--no-install-recommends g++ clang libclang-rt-dev")
    assert result.returncode == 1
    assert "still lacks" in result.stderr


def test_refuses_a_group_it_does_not_know(machine):
    result = bootstrap(machine, "everything")
    assert result.returncode != 0
    assert "everything" in result.stderr
