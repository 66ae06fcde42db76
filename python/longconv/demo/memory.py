# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""What memory there is, and what a piece of work takes (Linux: /proc and control groups)."""

from __future__ import annotations

from pathlib import Path

__all__ = ["available_bytes", "peak_resident_bytes", "reset_peak", "resident_bytes"]

_CGROUP_LIMITS = (  # (limit, usage) of version 2 and version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_bytes() -> int:
    """Memory that can be taken without swapping, the container's limit included."""
    available = _field("/proc/meminfo", "MemAvailable")
    for limit_path, usage_path in _CGROUP_LIMITS:
        try:
            limit = Path(limit_path).read_text().strip()
            usage = Path(usage_path).read_text().strip()
        except OSError:
            continue
        if limit.isdigit():
            available = min(available, int(limit) - int(usage))
    return max(available, 0)


def resident_bytes() -> int:
    """Physical memory this process holds now."""
    return _field("/proc/self/status", "VmRSS")


def peak_resident_bytes() -> int:
    """The most it has held since `reset_peak`."""
    return _field("/proc/self/status", "VmHWM")


def reset_peak() -> None:
    """Start `peak_resident_bytes` again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def _field(path: str, name: str) -> int:
    with open(path, encoding="ascii") as lines:
        for line in lines:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    raise OSError(f"{path} has no line {name}")
