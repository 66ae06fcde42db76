# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""``longconv demo``: the headline model beside PyTorch's, and a picture of a real recording.

Needs the extra packages of ``pip install longconv[demo]``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from longconv._machine import cpu_name

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``longconv demo``."""
    parser.add_argument("--full", action="store_true", help="all 64 signals of the headline, where memory allows")
    parser.add_argument(
        "--wav", type=Path, metavar="PATH", help="a recording of yours (default: alsa-utils' recordings)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo_output"), metavar="DIR", help="where the picture goes (%(default)s)"
    )
    parser.add_argument("--only", choices=("headline", "recording"), help="one part of the two")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; the exit status."""
    try:
        from longconv.demo import headline, recording
    except ModuleNotFoundError as error:
        print(f"longconv demo: {error}; it needs numpy, scipy, matplotlib and tqdm (the extra 'demo')", file=sys.stderr)
        return 1
    print(f"longconv beside PyTorch {torch.__version__}, {cpu_name()}, {torch.get_num_threads()} threads")
    try:
        if arguments.only != "recording":
            headline.run(full=arguments.full)
        if arguments.only != "headline":
            recording.run(arguments.wav, arguments.output)
    except (MemoryError, OSError, ValueError) as error:
        print(f"longconv demo: {error}", file=sys.stderr)
        return 1
    return 0
