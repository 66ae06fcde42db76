# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The host C++ of ejected files, compiled as far as a C++ compiler can without CUDA: PyTorch's header files are the real
ones, the runtime's are in cuda_stubs, and of the kernels there are their parameters."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest
import torch
from torch.utils.cpp_extension import include_paths

from longconv.eject import eject

CASES = [
    ("n64 c64->128 l524280 k3 s3 d4", "both", "follow"),
    ("n32 c64->128 l131072 k3 bias", "both", "follow"),
    ("n4 c64->64 l16384 k3 d2 bias", "both", "bf16"),
    ("n4 c256->256 l16384 k1", "sm_90a", "tf32"),
    ("n4 c1->80 l48000 k251 bias", "sm_80", "follow"),
    ("n1 c5000->4000 l4000 k1 bias", "sm_80", "fp32"),
]
STUBS = pathlib.Path(__file__).parent / "cuda_stubs"
SHARED = ("WgradRanges", "WgradPartials", "FpropParams", "HopperParams")


def struct(name: str, text: str) -> str:
    found = re.search(rf"^(?:template <class \w+> )?struct {name}\b[^{{;]*\{{.*?^\}};", text, re.M | re.S)
    assert found, name
    return found[0]


def parameters_only(device: str) -> str:
    """Each kernel's Params and its declaration, without what it does."""
    out = ["#define LC_DEVICE", "namespace conv1d {"]
    out += [struct(name, device) for name in SHARED if f"struct {name} " in device]
    for name, text in re.findall(r"^namespace (?!conv1d)(\w+) \{\n(.*?)^\}  // namespace \1$", device, re.M | re.S):
        entry = re.search(r"__global__ .*?(longconv_\w+)\(", text)
        if entry is None:
            continue  # of a header
        alias = re.search(r"^using Params = .*;", text, re.M)
        params = alias[0] if alias else struct("Params", text)
        types = "struct Element; struct Result; using Sum = float;"
        out.append(f"namespace {name} {{ {types}\n{params}\nvoid {entry[1]}(Params p);\n}}")
    return "\n".join([*out, "}"])


def test_it_compiles(tmp_path):
    compiler = shutil.which("c++") or pytest.skip("needs a C++ compiler")
    parts = []
    includes: dict[str, None] = {}
    for number, case in enumerate(CASES):
        names: dict = {"__name__": "ejected"}
        exec(compile(eject(*case), "<string>", "exec"), names)
        lines = names["launcher_source"].splitlines()
        includes.update(dict.fromkeys(line for line in lines if line.startswith("#include")))
        host = "\n".join(line for line in lines if not line.startswith("#include"))
        assert host.count("<<<") == 1
        host = re.sub(r"<<<.*?>>>", "", host)
        declared = names["declarations"]
        device = parameters_only(names["device_source"])
        assert len(re.findall(r"^void longconv_", device, re.M)) == names["device_source"].count("__global__ ")
        parts.append(f"namespace case{number} {{\n{declared}\n{device}\n{host}\n}}")
    source = tmp_path / "host.cpp"
    source.write_text("\n".join([*includes, *parts]), encoding="utf-8")
    standard = "-std=c++17" if torch.__version__.startswith("1.") else "-std=c++20"
    headers = [f"-isystem{path}" for path in include_paths()]
    # What a layer needs no kernel for has unused functions.
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
    command = [compiler, standard, "-fsyntax-only", *warnings, f"-I{STUBS}", *headers, str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
