# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""What the operating system says of the machine."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["cpu_name", "huge_page_mode"]


def cpu_name() -> str:
    """The model name that the processor gives itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def huge_page_mode() -> str:
    """'always', 'madvise' or 'never': which memory the kernel gives transparent huge pages; else 'unknown'."""
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
        return text.split("[")[1].split("]")[0]
    except (OSError, IndexError):
        return "unknown"
