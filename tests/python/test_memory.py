# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The promise: workspace at most 32 MiB plus the packed weights, and no buffer of the input's or output's size."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

import longconv

MIB = 1 << 20
WORKSPACE = 32 * MIB

EXTREME = [
    "n1 c1->1 l1 k1",
    "n64 c64->128 l524280 k3 s3 d4",
    "n1 c1->1 l1000000000 k3",
    "n1000000 c1->1 l100 k3",
    "n1 c65536->65536 l10 k1 g65536",
    "n1 c65536->65536 l100000 k7 g65536",
    "n1 c1->65536 l100000 k3",
    "n1 c65536->1 l100000 k3",
    "n2 c4096->4096 l1000 k3",
    "n1 c8->8 l10000000 k1000001",
    "n1 c1->1 l100000000 k2 d50000000",
    "n1 c64->64 l100000000 k3 d10000000",
    "n1 c64->64 l100000000 k3 s1000000",
    "n1 c512->512 l100000000 k16 s8 d1000 p(100000,5)",
    "n1 c48->96 l1000000 k8 s4 reflect p1000",
    "n1 c48->96 l1000000 k8 s4 circular p1000000",
    "n1 c4096->4096 l1000000 k65 g64",
    "n256 c12->64 l5000 k15 s2 gelu bias residual",
]
SIZE = {"f32": 4, "f64": 8, "bf16": 2, "f16": 2, "c64": 8, "c128": 16, "i64": 8}


def workspace_bytes(problem: str, threads: int = 0) -> int:
    """What the plan of the problem asks for."""
    text = longconv.plan(problem, threads)
    (number,) = re.findall(r"workspace[^0-9\n]*(\d+) (?:B|bytes)\b", text)[:1]
    return int(number)


def packed_weights_bytes(problem: str) -> int:
    """The weights once, in the accumulation type, with each group's outputs, inputs and taps rounded up to 16."""
    sizes = {k: int(v) for k, v in re.findall(r"\b([kg])(\d+)", problem)}
    inputs, outputs = (int(v) for v in re.search(r"c(\d+)->(\d+)", problem).groups())
    groups = sizes.get("g", 1)
    size = max(4, next((SIZE[word] for word in problem.split() if word in SIZE), 4))

    def up(n: int) -> int:
        return -(-n // 16) * 16

    return size * up(outputs) * up(inputs // groups) * up(sizes.get("k", 1))


@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad"])
@pytest.mark.parametrize("dtype", ["f32", "bf16", "c64", "f64", "i64"])
def test_workspace_of_extreme_problems(direction, dtype):
    for problem in EXTREME:
        if direction != "fprop" or dtype in ("c64", "i64"):
            problem = problem.replace(" gelu bias residual", "")
        problem = f"{direction} {problem} {dtype}"
        for threads in (1, 2, 64):
            planned = workspace_bytes(problem, threads)
            assert planned <= WORKSPACE + packed_weights_bytes(problem), f"{problem}, {threads} threads"


# Runs in a process of its own: memory that earlier tests freed would hide what a call takes.
PROBE = """
import json, re, sys
import torch, longconv
from longconv.functional import conv1d, conv_transpose1d

def peak():
    # Not getrusage: its peak is inherited from the process that started this one.
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(r"VmHWM:\\s*([0-9]+) kB", status.read())[1])

def fill(t):
    (torch.view_as_real(t) if t.is_complex() else t).fill_(1)
    return t

def grow(call):
    # Peaks only rise: nothing is given back in between, so that each call's own part shows.
    before = peak()
    kept.append(call())
    return peak() - before

kept = []
case = json.loads(sys.argv[1])
dtype = getattr(torch, case["dtype"])
n, c, o, l, k, g = (case[name] for name in "ncolkg")
options = {"stride": case["s"], "padding": tuple(case["p"]), "dilation": case["d"], "groups": g,
           "padding_mode": case["mode"]}
if case["layout"] == "nwc":
    x = fill(torch.empty(n, l, c, dtype=dtype)).transpose(1, 2)
elif case["layout"] == "every_second":
    x = fill(torch.empty(n, c, 2 * l, dtype=dtype))[:, :, ::2]
else:
    x = fill(torch.empty(n, c, l, dtype=dtype))
w = fill(torch.empty(o, c // g, k, dtype=dtype))
t = (l + sum(case["p"]) - case["d"] * (k - 1) - 1) // case["s"] + 1
y = fill(torch.empty(n, o, t, dtype=dtype))
small = [torch.ones(1, c, k * case["d"] + 64, dtype=dtype, requires_grad=case["backward"]), w]
warm = conv1d(*small, stride=case["s"], dilation=case["d"], groups=g)
if warm.requires_grad:
    warm.sum().backward()
result = {"input": x.numel() * x.element_size(), "output": y.numel() * y.element_size()}
result["weights"] = w.numel() * w.element_size()
result["fprop"] = grow(lambda: conv1d(x, w, out=y, **options))
if case["backward"]:
    left, right = case["p"]
    common = (case["s"], left, right, case["mode"], case["d"], g)
    result["wgrad"] = grow(lambda: torch.ops.longconv.wgrad(x, y, k, *common, False, "follow"))
    result["dgrad"] = grow(lambda: torch.ops.longconv.dgrad(y, w, l, *common, "follow"))
if case["mode"] == "zeros" and case["p"][0] == case["p"][1]:
    remainder = (l + 2 * case["p"][0] - case["d"] * (k - 1) - 1) % case["s"]
    sizes = (case["s"], case["p"][0], remainder, g, case["d"])
    bias = fill(torch.empty(c, dtype=dtype))
    conv_transpose1d(warm.detach(), w, bias, *sizes)
    result["transposed"] = grow(lambda: conv_transpose1d(y, w, bias, *sizes, out=x))
    result["transposed fresh"] = grow(lambda: conv_transpose1d(y, w, bias, *sizes))
result["control"] = grow(lambda: fill(torch.empty(result["output"] + result["input"], dtype=torch.uint8)))
print(json.dumps(result))
"""

BASE = {"n": 1, "c": 32, "o": 32, "l": 1 << 19, "k": 3, "s": 1, "d": 1, "g": 1, "p": [0, 0], "dtype": "float32"}
BASE = {**BASE, "mode": "zeros", "layout": "ncw", "backward": True}
MEASURED = {
    "dense": {},
    "strided, dilated": {"s": 3, "d": 4, "l": 3 << 19, "o": 64},
    "channels last": {"layout": "nwc", "backward": False},
    "time stride 2": {"layout": "every_second", "backward": False},
    "reflect": {"p": [1000, 1000], "mode": "reflect"},
    "circular": {"p": [1 << 19, 5], "mode": "circular", "backward": False},
    "causal": {"p": [8, 0], "d": 4},
    "few inputs": {"c": 1, "o": 64, "k": 10, "s": 5, "l": 5 << 18},
    "depthwise": {"g": 32, "k": 7},
    "grouped": {"g": 4},
    "bfloat16": {"dtype": "bfloat16", "l": 1 << 20},
    "float64": {"dtype": "float64", "l": 1 << 18},
    "complex64": {"dtype": "complex64", "l": 1 << 18, "backward": False},
    "int64": {"dtype": "int64", "l": 1 << 18, "backward": False},
    "long filter": {"c": 2, "o": 2, "l": 8 << 20, "k": 129, "backward": False},
}
# Code that is paged in, thread stacks, the allocator's own: what a call may take beside its workspace.
SLACK = 4 * MIB


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status")
@pytest.mark.parametrize("name", MEASURED)
def test_measured_memory(name):
    case = {**BASE, **MEASURED[name]}
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(case)], capture_output=True, text=True, check=False, env=environment
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    allowed = WORKSPACE + 4 * result["weights"] + SLACK
    assert max(result["input"], result["output"]) >= 1.5 * allowed, "too small a problem to tell"
    assert result["control"] >= 0.9 * (result["input"] + result["output"]), "the measurement sees nothing"
    assert result["fprop"] <= allowed, result
    if "transposed" in result:
        assert result["transposed"] <= allowed, result
        assert result["transposed fresh"] <= allowed + result["input"], result
    if "dgrad" in result:
        assert result["wgrad"] <= allowed, result
        assert result["dgrad"] <= allowed + result["input"], result
