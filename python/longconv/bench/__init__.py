# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Paired benchmark of longconv against PyTorch: both sides run alternately in one process.

``longconv bench`` (or ``python -m longconv.bench``) measures, ``python -m longconv.bench.report`` writes the README's
table. The method is described in docs/design/benchmark.md. One module per concern:

================  ======================================================================
``problem``       a convolution problem read from its one-line form; its FLOPs and bytes
``case_files``    named lists of problems (``cases/*.json``)
``operands``      tensors of a problem and the two callables that are compared
``clocks``        one timed sample on the CPU (wall or CPU time) or on a CUDA stream
``paired``        alternate rounds, rejection of preempted rounds
``stats``         medians, quartiles, bootstrap intervals
``roofline``      copy and GEMM rates of the machine, measured in the same run
``accuracy``      error against float64 on slices
``planner``       the GPU planner's choice against every other config
``precompile``    kernels of a run compiled beforehand, in parallel
``environment``   device, versions, commit
``record``        the JSON line of one measurement
``table``         records as text; ``report``, ``gpu_table``: as Markdown; ``plot``: as a picture
================  ======================================================================
"""

from longconv.bench.cli import add_arguments, run

__all__ = ["add_arguments", "run"]
