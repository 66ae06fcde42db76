# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Where a measurement was made: device, versions, commit. Names and numbers only, no path of the machine."""

from __future__ import annotations

import datetime
import os
import pathlib
import platform
import subprocess

import torch

from longconv._machine import cpu_name, huge_page_mode
from longconv._ops import plan as longconv_plan
from longconv.bench import planner
from longconv.bench.problem import Problem
from longconv.bench.record import DeviceInfo, Source, Versions

PACKAGE_FOLDER = pathlib.Path(__file__).resolve().parents[1]
HUGE_PAGES_VARIABLE = "THP_MEM_ALLOC_ENABLE"  # read by PyTorch's CPU allocator when the process starts
_MEASURED_PATHS = ("CMakeLists.txt", "cmake", "include", "kernels", "python", "src")


def now() -> str:
    """UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def device_info(device: torch.device) -> DeviceInfo:
    """Names the device and how this process uses it."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        name, isa = torch.cuda.get_device_name(device), f"sm_{major}{minor}"
    else:
        name, isa = cpu_name(), cpu_isa()
    return {
        "kind": device.type,
        "name": name,
        "isa": isa,
        "threads": torch.get_num_threads(),
        "huge_pages": huge_pages() if device.type == "cpu" else "as-it-comes",
        "transparent_huge_pages": huge_page_mode(),
    }


def huge_pages() -> str:
    """Whether PyTorch's allocator asks for huge pages in this process."""
    return "on" if os.environ.get(HUGE_PAGES_VARIABLE, "0") not in ("", "0") else "as-it-comes"


def cpu_isa() -> str:
    """The vector extension that longconv uses here (LONGCONV_ISA can lower it); PyTorch's where longconv is absent."""
    line = _line_after("device ", longconv_build_info())
    if line is not None:
        return line.split()[1]  # "cpu avx2 threads2 ..."
    return _line_after("CPU capability usage: ", torch.__config__.show()) or "unknown"


def longconv_build_info() -> str:
    """What the extension says of itself; empty if it is not loaded."""
    try:
        return str(torch.ops.longconv.build_info())
    except (AttributeError, RuntimeError):
        return ""


def _line_after(prefix: str, text: str) -> str | None:
    for line in text.splitlines():
        if prefix in line:
            return line.split(prefix, 1)[1].strip()
    return None


def plan_line(problem: Problem, device: torch.device) -> str | None:
    """The planner's choice of kernel and config."""
    if device.type == "cpu":
        return _line_after("chosen ", longconv_plan(problem.library_form, torch.get_num_threads()))
    return _line_after("chosen ", planner.plan_text(problem, device))


def versions(device: torch.device) -> Versions:
    """Of everything that the timings depend on."""
    return {
        "longconv": _line_after("longconv ", longconv_build_info()) or "unknown",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "backend": _backend(device),
        "driver": _driver() if device.type == "cuda" else None,
    }


def forced_kernel(device: torch.device) -> str | None:
    """What takes the place of the planner's choice in this process."""
    return os.environ.get(planner.FORCED_KERNEL) or None if device.type == "cuda" else None


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else None


def _backend(device: torch.device) -> str:
    if device.type == "cuda":
        version = int(torch.backends.cudnn.version() or 0)  # type: ignore[no-untyped-call]
        major = 10000 if version >= 90000 else 1000
        return f"cuDNN {version // major}.{version % major // 100}"
    onednn = _line_after("MKL-DNN v", torch.__config__.show())
    return "no oneDNN" if onednn is None else f"oneDNN {onednn.split()[0]}"


def source(commit: str | None = None) -> Source:
    """The commit that is measured: `commit` where the caller knows it (a copy of the sources has no history).

    Otherwise that of the checkout which this package is part of, or was built from: the one around the current folder,
    provided that its Python files are the installed ones. Neither: no commit.
    """
    if commit is not None:
        return {"commit": commit, "dirty": None}
    root = _git(PACKAGE_FOLDER, "rev-parse", "--show-toplevel")
    if root is None or _git(PACKAGE_FOLDER, "ls-files", "--error-unmatch", "bench/__init__.py") is None:
        root = _git(pathlib.Path.cwd(), "rev-parse", "--show-toplevel")
        if root is None or not _has_same_python_files(pathlib.Path(root) / "python" / "longconv"):
            return {"commit": None, "dirty": None}
    folder = pathlib.Path(root)
    paths = [path for path in _MEASURED_PATHS if (folder / path).exists()]
    head, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--", *paths)
    return {"commit": head, "dirty": None if head is None or changes is None else bool(changes)}


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _has_same_python_files(folder: pathlib.Path) -> bool:
    files = [path.relative_to(folder) for path in folder.rglob("*.py")]
    installed = [PACKAGE_FOLDER / file for file in files]
    return bool(files) and all(
        copy.is_file() and copy.read_bytes() == (folder / file).read_bytes() for file, copy in zip(files, installed)
    )
