# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Ejected files: what is in their text, what they do without a GPU, and that their device code is the library's."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
import torch
from torch import nn

import nvrtc
from longconv.cli import main
from longconv.eject import eject
from longconv.eject.device_text import Kernel, device_text

EXAMPLES = {
    "kernelbench_76.py": "fprop n64 c64->128 l524280 k3 s3 d4",
    "kernelbench_67.py": "fprop n32 c64->128 l131072 k3",
}
FOLDER = pathlib.Path(__file__).parents[2] / "examples"
CASES = [
    (EXAMPLES["kernelbench_76.py"], "both", "follow"),
    (EXAMPLES["kernelbench_67.py"], "both", "follow"),
    (EXAMPLES["kernelbench_67.py"] + " bias", "both", "bf16"),
    ("n4 c256->256 l16384 k3 d8 bias", "sm_90a", "fp32"),
    ("n4 c256->256 l16384 k1", "both", "tf32"),
    ("n4 c48->96 l220500 k8 s4 f16", "both", "follow"),
    ("n4 c1->80 l48000 k251 bias", "sm_80", "follow"),
]
BASE = {"__name__": "ejected"}  # no __file__


def load(text: str) -> dict:
    names = dict(BASE)
    exec(compile(text, "<string>", "exec"), names)
    return names


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case).replace(" ", "_"))
def ejected(request):
    """The text of a file."""
    return eject(*request.param)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_what_the_generator_writes(name):
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == eject(EXAMPLES[name]), "run `make examples`"


def test_words(ejected):
    """What checkers of submitted files refuse, in comments too; and what they look for."""
    words = {part.lower() for word in re.findall(r"\w+", ejected) for part in re.split(r"_|(?<=[a-z])(?=[A-Z])", word)}
    refused = {"try", "except", "pass", "threading", "multiprocessing", "concurrent", "os", "sys", "subprocess"}
    assert not words & refused
    for text in ("__global__", "load_inline", "class ModelNew(nn.Module)"):
        assert text in ejected
    for pattern in (
        r"longconv\s+import|import\s+longconv",
        r"torch\.nn\.(?!Module|Parameter|init)|functional|nn\.Conv|conv1d\(x, w",
        r"torch\.conv|_make_subclass|\.half\(|cuda\.[Ss]tream\(",
        r"__file__|__import__|setattr",
    ):
        assert not re.search(pattern, ejected), pattern
    code = re.sub(r"//[^\n]*", "", ejected)
    assert set(re.findall(r"\bLC_\w+", code)) <= {"LC_DEVICE", "LC_CONSTEXPR"}, "definitions that stayed"
    # Modules and what is set in them: nothing of others is replaced.
    imports = re.findall(r"^(?:import|from) .*$", ejected, re.MULTILINE)
    assert imports == [
        "import functools",
        "import math",
        "import torch",
        "from torch import nn",
        "from torch.utils.cpp_extension import load_inline",
    ]
    assert not re.search(r"^\s*torch\.[\w.]+\s*=[^=]", ejected, re.MULTILINE)


def test_is_formatted(ejected):
    body = ejected[: ejected.index('r"""')] + ejected[ejected.rindex('\n"""') :]
    assert [line for line in body.splitlines() if len(line) > 120] == []
    assert not re.search(r"[ \t]+$|\t", ejected, re.MULTILINE)


def test_every_parameter_is_filled(ejected):
    """Each field of a kernel's Params but those of what a layer does not have: a new one must not be forgotten."""
    names = load(ejected)
    device, launcher = names["device_source"], names["launcher_source"]

    def fields(text, struct="Params"):
        own = re.search(rf"struct {struct}\b[^{{;]*\{{(.*?)\}};", text, re.DOTALL)
        declared = re.findall(r"(\w+)(?=[,;])", re.sub(r"//.*", "", own[1])) if own else []
        derived = re.search(rf"(?:struct {struct} : |using {struct} = )(FpropParams|HopperParams)", text)
        return {*declared, *(fields(device, derived[1]) if derived else ())}

    absent = {"residual", "residual_batch", "residual_channel", "residual_time", "negative_slope"}
    results = {"dw", "db", "dw_out", "dw_in", "dw_tap", "db_stride"}  # of direct_wgrad where it writes partial sums
    redo = {"redo_step", "redo_span", "redo_tiles"}
    functions = re.findall(r"^void ((?:forward|backward_input|backward_weight)_\w+)(\(.*?^\})", launcher, re.M | re.S)
    assert {name.rpartition("_")[0].rpartition("_")[0] for name, _ in functions} == {
        "forward",
        "backward_input",
        "backward_weight",
    }
    for name, function in functions:
        optional = absent | (set() if "call.bias" in function else {"bias", "bias_channel", "bias_partial"})
        optional |= set() if "call.bias" in function else {"bias_elements", "bias_stride"}
        optional |= set() if name.startswith("backward_input") else {"pad_left"}
        optional |= set() if "kInverseOffset" in function else {"inverse", "weight_inverse"}
        optional |= set() if "namespace repair" in function else {"redo"}
        optional |= set() if "p.drawn" in function or "namespace repair" in function else {"state", "state_words"}
        optional |= results if "namespace reduce" in function else {"partials"}
        unused = {"conv": {"flags", "flag_words", *redo}, "edges": {"redo", *redo}}
        variables = {"pack": "w", "conv": "p", "repair": "r", "edges": "e", "reduce": "s"}
        for role, variable in variables.items():
            if (alias := re.search(rf"namespace {role} = conv1d::(\w+);", function)) is None:
                continue
            kernel = device[device.index(f"namespace {alias[1]} {{") : device.index(f"}}  // namespace {alias[1]}")]
            filled = set(re.findall(rf"\b{variable}\.(\w+)", function))
            assert fields(kernel) - filled <= optional | unused.get(role, set()), function
            assert filled <= fields(kernel), function


@pytest.mark.parametrize(
    ("bias", "problem"), [(False, "n2 c6->10 l50 k3 s2 d2"), (True, "n2 c6->10 l50 k3 s2 d2 bias")]
)
def test_weights_are_drawn_as_pytorch_draws_them(bias, problem):
    names = load(eject(problem))
    sizes = names["get_init_inputs"]()
    assert sizes == [6, 10, 3, 2, 2, *([True] if bias else [])]
    torch.manual_seed(42)
    theirs = nn.Conv1d(6, 10, 3, stride=2, dilation=2, bias=bias)
    torch.manual_seed(42)
    ours = names["ModelNew"](*sizes)
    assert list(ours.state_dict()) == [f"conv1d.{name}" for name in theirs.state_dict()]
    for mine, reference in zip(ours.parameters(), theirs.parameters()):
        assert torch.equal(mine, reference)
    torch.manual_seed(1)
    (x,) = names["get_inputs"]()
    torch.manual_seed(1)
    assert torch.equal(x, torch.rand(2, 6, 50))


def test_without_a_gpu_says_so():
    names = load((FOLDER / "kernelbench_76.py").read_text(encoding="utf-8"))
    assert [names[name] for name in ("batch_size", "in_channels", "out_channels", "kernel_size")] == [64, 64, 128, 3]
    assert [names[name] for name in ("length", "stride", "dilation")] == [524280, 3, 4]
    model = names["ModelNew"](*names["get_init_inputs"]())
    with pytest.raises(RuntimeError, match="x: expected a CUDA tensor, but got one on cpu"):
        model(torch.zeros(1, 64, 100))
    with pytest.raises(ValueError, match="compiled for"):
        names["ModelNew"](64, 128, 3, 1, 4)


class Recorder:
    """In the compiled extension's place: writes down calls and answers with tensors of the right shapes."""

    def __init__(self, bias: bool) -> None:
        self.calls: list[tuple] = []
        self._bias = bias

    def conv1d_forward(self, x, weight, *rest):
        self.calls.append(("forward", *rest[1 if self._bias else 0 :]))
        return x.new_zeros(x.size(0), weight.size(0), 5)

    def conv1d_backward_input(self, grad_y, weight, length, *rest):
        self.calls.append(("backward_input", *rest))
        return grad_y.new_full((grad_y.size(0), weight.size(1), length), 2)

    def conv1d_backward_weight(self, x, grad_y, *rest):
        self.calls.append(("backward_weight", *rest))
        grad_weight = x.new_full((grad_y.size(1), x.size(1), 3), 3)
        return [grad_weight, x.new_full((grad_y.size(1),), 4)] if self._bias else grad_weight


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("wanted", [(1, 1, 1), (1, 0, 0), (0, 1, 1), (0, 1, 0), (0, 0, 1), (1, 0, 1)])
def test_backward_computes_what_is_wanted(bias, wanted, monkeypatch):
    """What autograd asks for and nothing else, in the precision that is allowed when it runs: as the library's does."""
    if not bias and wanted[:2] == (0, 0):
        pytest.skip("nothing is wanted")
    names = load(eject(f"n2 c6->10 l9 k3 s1 d2{' bias' if bias else ''}"))
    extension = Recorder(bias)
    monkeypatch.setitem(names, "_extension", lambda: extension)
    shapes = [(2, 6, 9), (10, 6, 3), (10,)][: 3 if bias else 2]
    tensors = [torch.zeros(shape, requires_grad=bool(want)) for shape, want in zip(shapes, wanted)]
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    y = names["_Conv1d"].apply(*tensors)
    saved = [tensor is not None for tensor in y.grad_fn.saved_tensors]
    assert saved == [bool(wanted[1]), bool(wanted[0])]
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    y.sum().backward()
    expected = ["backward_input"] * wanted[0] + ["backward_weight"] * wanted[1]
    assert extension.calls == [("forward", True), *((name, False) for name in expected)]
    values = (2, 3, 4 if wanted[1] else 10)  # the bias's alone is PyTorch's sum of 2 * 5 ones
    for tensor, want, value in zip(tensors, wanted, values):
        assert (tensor.grad is not None) == bool(want)
        assert not want or (tensor.grad.shape == tensor.shape and bool((tensor.grad == value).all()))


def test_double_backward_is_refused(monkeypatch):
    names = load(eject("n2 c6->10 l9 k3 s1 d2"))
    extension = Recorder(bias=False)
    monkeypatch.setitem(names, "_extension", lambda: extension)
    x, weight = torch.zeros(2, 6, 9, requires_grad=True), torch.zeros(10, 6, 3, requires_grad=True)
    y = names["_Conv1d"].apply(x, weight)
    with pytest.raises(NotImplementedError, match="have no derivative"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_bf16_is_bfloat16():
    names = load(eject(CASES[2][0], "both", "bf16"))
    assert {parameter.dtype for parameter in names["ModelNew"](*names["get_init_inputs"]()).parameters()} == {
        torch.bfloat16
    }


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["--problem", "n1 c4->4 l99 k3 p1"], 1, "padding"),
        (["--problem", "n1 c4->4 g2 l99 k3"], 1, "groups"),
        (["--problem", "n1 c4->4 l99 k3 relu"], 1, "activation"),
        (["--problem", "n1 c4->4 l99 q3"], 2, "q3"),
        (["--problem", "n1 l99 bf16", "--precision", "fp32"], 2, "contradicts"),
        (["--problem", "dgrad n1 l99"], 2, "forward"),
        (["--problem", "n1 l99", "--arch", "sm_70"], 2, "sm_70"),
        (["--problem", "n1 l99", "-o", "/does/not/exist.py"], 1, "exist.py"),
    ],
)
def test_refusals(arguments, status, word, capsys):
    assert main(["eject", *arguments]) == status
    captured = capsys.readouterr()
    assert word in captured.err
    assert captured.out == ""


def test_output(tmp_path, capsys):
    assert main(["eject", "--problem", "n1 c4->4 l99 k3", "-o", str(tmp_path / "model_new.py")]) == 0
    assert main(["eject", "--problem", "n1 c4->4 l99 k3"]) == 0
    assert (tmp_path / "model_new.py").read_text(encoding="utf-8") == capsys.readouterr().out


def test_device_text():
    """Includes, conditionals, definitions, guards and words, on a kernel made up for it."""
    header = '#pragma once\n#include "tile/b.cuh"\n#if __CUDA_ARCH__ >= 900\nint hopper;\n#endif\n'
    kernel = """\
// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// LC_SIZE passes; try it.
#include "conv/part.cuh"
#include "tile/a.cuh"
#include "tile/b.cuh"
#if LC_KIND == 1 && !defined(LC_OTHER)
constexpr int kPassBytes = LC_SIZE;
#elif LC_KIND == 2
constexpr int kTwo = 2;
#else
constexpr int kThree = 3;
#ifdef LONGCONV_DEBUG
trap();
#endif
#endif
#ifdef __CUDACC_DEBUG__
check();
#endif
extern "C" __global__ void entry(const __grid_constant__ Params p) {
  asm("mbarrier.try_wait.b64 %0;" ::"r"(::kPassBytes));
  { int pass = '0'; }
}
"""
    sources = {"tile/a.cuh": header, "tile/b.cuh": 'int b;\n#include "tile/c.cuh"\n', "conv/k.cuh": kernel}
    sources["tile/c.cuh"] = '#pragma once\n#include "tile/b.cuh"\nint after_b;\n'
    sources["conv/part.cuh"] = '#pragma once\n#include "tile/d.cuh"\nconstexpr int kPart = LC_SIZE;\n'
    sources["tile/d.cuh"] = "int d;\n"
    first = Kernel("one", "conv/k.cuh", "entry", {"LC_KIND": "1", "LC_SIZE": "16"}, True, "#ifdef X", "One.")
    second = Kernel("two", "conv/k.cuh", "entry", {"LC_KIND": "3", "LC_SIZE": "16"}, False)
    text = device_text([first, second], sources)
    assert text.count("constexpr int kPart = 16;") == 2, "a part of the kernel, in each specialisation"
    assert text.index("int d;") < text.index("namespace one") < text.index("kPart") < text.index("kSweepBytes =")
    assert text.count("int b;") == text.count("int hopper;") == 1
    assert text.index("int b;") < text.index("int after_b;") < text.index("int hopper;") < text.index("namespace one")
    assert text.count("constexpr int kSweepBytes = 16;") == text.count("constexpr int kThree = 3;") == 1
    assert "kTwo" not in text
    assert "trap" not in text
    assert "// LC_SIZE sweeps; attempt it." in text
    assert text.count("#ifdef __CUDACC_DEBUG__\ncheck();\n#endif") == 2
    assert '{\n#ifdef X\n  asm("mbarrier.t" "ry_wait.b64 %0;" ::"r"(one::kSweepBytes));' in text
    assert "{ int sweep = '0'; }\n#endif\n}" in text
    assert 'extern "C"' not in text
    assert "int hopper;" not in device_text([second], sources)


# --- With NVRTC: tools/test-kernels ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=nvrtc.libraries() or [None], ids=lambda path: pathlib.Path(path or "none").name)
def compiler(request):
    """Each NVRTC that LONGCONV_TEST_NVRTC names."""
    if request.param is None:
        pytest.skip("LONGCONV_TEST_NVRTC names no NVRTC")
    return nvrtc.Nvrtc(request.param)


def test_device_part_compiles(ejected, compiler):
    archs = ["sm_80"] if "compute_80" in ejected else []
    if compiler.version >= (12, 0) and "compute_90a" in ejected:
        archs.append("sm_90a")
    for arch in archs:
        image, log = compiler.compile(load(ejected)["device_source"], "--std=c++17", f"--gpu-architecture={arch}")
        assert image, log


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_machine_code_is_the_librarys(compiler, arch):
    if arch == "sm_90a" and compiler.version < (12, 0):
        pytest.skip("this NVRTC knows no sm_90a")
    problem, options = EXAMPLES["kernelbench_76.py"], ("--std=c++17", f"--gpu-architecture={arch}")
    layer_words = problem.replace("fprop ", "")
    image, log = compiler.compile(load(eject(problem))["device_source"], *options)
    assert image, log
    found = nvrtc.functions(image)
    model = "a100" if arch == "sm_80" else "h100"
    compared = set()
    passes = [(name, words) for name in ("fprop", "dgrad", "wgrad") for words in ("f32", "f32 tf32")]
    for name, words in passes:
        layer = json.loads(torch.ops.longconv.layer_source(f"{name} {layer_words} {words}", model))
        for step in layer["steps"].values():
            defines = [f"-D{name}={value}" for name, value in step["defines"].items()]
            text = layer["sources"][step["file"]]
            image, log = compiler.compile(text, *options, *defines, headers=layer["sources"])
            assert image, log
            ours = nvrtc.functions(image)[step["entry"]]
            assert ours
            assert any(code == ours for name, code in found.items() if step["entry"] in name), step
            compared.add((step["file"], *defines))
    # fprop: two packers, two kernels, a repair. dgrad: also the edges of TF32. wgrad: two kernels, two repairs, one sum.
    assert len(compared) == 5 + 6 + 5
