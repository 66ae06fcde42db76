# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""What the operators promise besides numbers: errors, out=, strides, conj and neg bits, Meta, CUDA, threads, loading."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import longconv
from longconv import _ops

ops = torch.ops.longconv
PLAIN = (1, 0, 0, "zeros", 1, 1)
TAIL = ("none", 0.0, "follow")


def fprop(x, weight, bias=None, residual=None, geometry=PLAIN, tail=TAIL):
    return ops.fprop(x, weight, bias, residual, *geometry, *tail)


def ones(*shape, dtype=torch.float32, device="cpu"):
    return torch.ones(*shape, dtype=dtype, device=device)


X, W = ones(2, 4, 20), ones(6, 4, 3)


def geometry(**changes):
    names = ("stride", "pad_left", "pad_right", "pad_mode", "dilation", "groups")
    return tuple({**dict(zip(names, PLAIN)), **changes}.values())


REFUSED = {
    "weight dtype": (lambda: fprop(X, W.double()), RuntimeError, r"Float.*Double.*should be the same"),
    "bias dtype": (lambda: fprop(X, W, ones(6).double()), RuntimeError, r"bias.*Double.*should be the same"),
    "residual dtype": (lambda: fprop(X, W, None, ones(2, 6, 18).half()), RuntimeError, r"residual.*Half"),
    "input rank": (lambda: fprop(X[0], W), RuntimeError, r"input to be 3-dimensional, but got 2"),
    "weight rank": (lambda: fprop(X, W[0]), RuntimeError, r"weight to be 3-dimensional, but got 2"),
    "bias rank": (lambda: fprop(X, W, ones(6, 1)), RuntimeError, r"bias to be 1-dimensional, but got 2"),
    "bias size": (lambda: fprop(X, W, ones(5)), RuntimeError, r"bias to have 6 elements, but got 5"),
    "channels": (lambda: fprop(ones(2, 3, 20), W), RuntimeError, r"weight of size \[6, 4, 3\].*got 3 channels"),
    "residual batch": (
        lambda: fprop(X, W, None, ones(1, 6, 18)),
        RuntimeError,
        r"residual to have 2 batches, but got 1",
    ),
    "residual length": (
        lambda: fprop(X, W, None, ones(2, 6, 1)),
        RuntimeError,
        r"residual to have 18 samples, but got 1",
    ),
    "groups": (lambda: fprop(X, W, geometry=geometry(groups=3)), RuntimeError, r"groups"),
    "groups divide": (lambda: fprop(X, ones(7, 2, 3), geometry=geometry(groups=2)), RuntimeError, r"7.*groups=2"),
    "no groups": (lambda: fprop(X, W, geometry=geometry(groups=0)), RuntimeError, r"groups=0"),
    "stride": (lambda: fprop(X, W, geometry=geometry(stride=0)), RuntimeError, r"stride .*got 0"),
    "dilation": (lambda: fprop(X, W, geometry=geometry(dilation=-1)), RuntimeError, r"dilation .*got -1"),
    "pad": (lambda: fprop(X, W, geometry=geometry(pad_right=-1)), RuntimeError, r"negative padding.*-1"),
    "reflect": (
        lambda: fprop(X, W, geometry=geometry(pad_left=20, pad_mode="reflect")),
        RuntimeError,
        r"reflect.*20.*length 20",
    ),
    "too short": (lambda: fprop(X, W, geometry=geometry(dilation=10)), RuntimeError, r"\(20\).*\(21\)"),
    "overflow": (lambda: fprop(X, W, geometry=geometry(pad_left=2**63 - 1)), RuntimeError, r"63 bits"),
    "pad mode": (lambda: fprop(X, W, geometry=geometry(pad_mode="mirror")), ValueError, r"'mirror'"),
    "activation": (lambda: fprop(X, W, tail=("swish", 0.0, "follow")), ValueError, r"'swish'"),
    "precision": (lambda: fprop(X, W, tail=("none", 0.0, "fp8")), ValueError, r"'fp8'"),
    "int32": (lambda: fprop(X.int(), W.int()), NotImplementedError, r"'Int'"),
    "bool": (lambda: fprop(X.bool(), W.bool()), NotImplementedError, r"'Bool'"),
    "int64 activation": (lambda: fprop(X.long(), W.long(), tail=("relu", 0.0, "follow")), NotImplementedError, r"relu"),
    "devices": (lambda: fprop(X, W.to("meta")), RuntimeError, r"same device.*cpu.*meta"),
    "sparse": (lambda: fprop(X.to_sparse(), W), (RuntimeError, NotImplementedError), r"[Ss]parse"),
    "dgrad length": (
        lambda: ops.dgrad(ones(2, 6, 18), W, 21, *PLAIN, "follow"),
        RuntimeError,
        r"grad_y to have 19 samples, but got 18",
    ),
    "dgrad channels": (
        lambda: ops.dgrad(ones(2, 5, 18), W, 20, *PLAIN, "follow"),
        RuntimeError,
        r"grad_y to have 6 channels, but got 5",
    ),
    "wgrad batch": (
        lambda: ops.wgrad(X, ones(3, 6, 18), 3, *PLAIN, False, "follow"),
        RuntimeError,
        r"grad_y to have 2 batches, but got 3",
    ),
    "wgrad kernel": (
        lambda: ops.wgrad(X, ones(2, 6, 18), 0, *PLAIN, False, "follow"),
        RuntimeError,
        r"kernel size .*got 0",
    ),
    "dgrad through an activation on the CPU": (
        lambda: ops.dgrad_through_activation(ones(2, 6, 18), ones(2, 6, 18), W, 20, *PLAIN, "relu", 0.0, "follow"),
        NotImplementedError,
        r"dgrad_through_activation",
    ),
    "derivative of a pass through an activation": (
        lambda: ops.wgrad_through_activation(
            X, ones(2, 6, 18).requires_grad_(), ones(2, 6, 18), 3, *PLAIN, False, "relu", 0.0, "follow"
        ),
        RuntimeError,
        r"has no derivative",
    ),
    "plan word": (lambda: longconv.plan("fprop c3->4 rubbish"), ValueError, r"rubbish"),
    "plan groups": (lambda: longconv.plan("fprop c3->4 g2 l9"), RuntimeError, r"in_channels=3"),
    "plan threads": (lambda: longconv.plan("fprop l9", -1), RuntimeError, r"-1"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_the_type_that_pytorch_raises(what):
    call, error, message = REFUSED[what]
    with pytest.raises(error, match=message) as caught:
        call()
    if error is RuntimeError:
        assert type(caught.value) is RuntimeError


META_CASES = {"plain": PLAIN, "strided": (3, 2, 1, "zeros", 2, 2), "reflect": (2, 1, 3, "reflect", 1, 1)}


@pytest.mark.parametrize("what", META_CASES)
def test_meta_shapes_and_strides_are_those_of_the_cpu(what):
    geometry = META_CASES[what]

    def all_results(x, weight):
        y = fprop(x, weight, geometry=geometry)
        grad_w, grad_b = ops.wgrad(x, y, 3, *geometry, True, "follow")
        return y, ops.dgrad(y, weight, 20, *geometry, "follow"), grad_w, grad_b

    x, weight = X.transpose(1, 2).contiguous().transpose(1, 2), ones(6, 4 // geometry[-1], 3)
    for real, meta in zip(all_results(x, weight), all_results(x.to("meta"), weight.to("meta"))):
        assert (real.shape, real.stride(), real.dtype) == (meta.shape, meta.stride(), meta.dtype)
        assert meta.is_meta


def test_meta_refuses_what_the_cpu_refuses():
    for what in ("channels", "bias size", "stride", "too short", "reflect", "pad mode", "residual length"):
        _, error, message = REFUSED[what]
        with pytest.raises(error, match=message):
            {
                "channels": lambda: fprop(ones(2, 3, 20, device="meta"), W.to("meta")),
                "bias size": lambda: fprop(X.to("meta"), W.to("meta"), ones(5, device="meta")),
                "stride": lambda: fprop(X.to("meta"), W.to("meta"), geometry=geometry(stride=0)),
                "too short": lambda: fprop(X.to("meta"), W.to("meta"), geometry=geometry(dilation=10)),
                "reflect": lambda: fprop(
                    X.to("meta"), W.to("meta"), geometry=geometry(pad_left=20, pad_mode="reflect")
                ),
                "pad mode": lambda: fprop(X.to("meta"), W.to("meta"), geometry=geometry(pad_mode="mirror")),
                "residual length": lambda: fprop(X.to("meta"), W.to("meta"), None, ones(2, 6, 1, device="meta")),
            }[what]()


# --- out= ------------------------------------------------------------------------------------------------------------


def into(out, x=X, weight=W, residual=None):
    return ops.fprop.out(x, weight, None, residual, *PLAIN, *TAIL, out=out)


def test_out_of_any_strides_is_written_and_returned():
    x, weight = torch.randn(2, 4, 20), torch.randn(6, 4, 3)
    memory = torch.full((2, 18, 14), math.nan)
    out = memory.transpose(1, 2)[:, 1::2][:, :6]
    version = out._version
    got = into(out, x, weight)
    assert got.data_ptr() == out.data_ptr()
    assert torch.equal(out, fprop(x, weight))
    assert torch.isnan(memory.transpose(1, 2)[:, ::2]).all()  # what lies between is untouched
    assert out._version > version


def test_out_may_be_the_residual():
    x, weight, y = torch.randn(2, 4, 20), torch.randn(6, 4, 3), torch.randn(2, 6, 18)
    expected = fprop(x, weight, None, y.clone())
    assert torch.equal(into(y, x, weight, residual=y), expected)


def test_out_is_resized_as_pytorch_does(capfd):
    assert into(torch.empty(0)).shape == (2, 6, 18)
    assert "resized" not in capfd.readouterr().err
    assert into(torch.empty(3)).shape == (2, 6, 18)
    assert "output with one or more elements was resized" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda: ones(2, 6, 18).double(), "Expected out tensor to have dtype"),
        (lambda: ones(2, 6, 1).expand(2, 6, 18), "more than one element of the written-to tensor"),
        (lambda: torch.ones(2, 6, 18, requires_grad=True), "don't support automatic differentiation"),
    ],
)
def test_out_that_cannot_be_written_is_refused(out, message):
    with pytest.raises(RuntimeError, match=message):
        into(out())


def test_out_that_overlaps_an_operand_is_refused_before_anything_is_written():
    memory = torch.randn(2 * 6 * 18 + 50)
    before = memory.clone()
    x = memory[50 : 50 + 160].view(2, 4, 20)
    with pytest.raises(RuntimeError, match="memory location"):
        into(memory[: 2 * 6 * 18].view(2, 6, 18), x)
    assert torch.equal(memory, before)


def test_out_overwriting_a_saved_tensor_is_noticed_in_backward():
    x = torch.randn(2, 6, 18)
    weight = torch.randn(6, 6, 1, requires_grad=True)
    y = fprop(x, weight)
    into(x, X, W)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# --- views ------------------------------------------------------------------------------------------------------------


def test_conj_and_neg_bits_are_seen():
    x = torch.randn(2, 4, 20, dtype=torch.complex128)
    weight = torch.randn(6, 4, 3, dtype=torch.complex128)
    assert x.conj().is_conj()
    torch.testing.assert_close(fprop(x.conj(), weight), fprop(x.conj().resolve_conj(), weight), rtol=0, atol=0)
    torch.testing.assert_close(fprop(x.conj(), weight.conj()), fprop(x, weight).conj(), rtol=1e-12, atol=1e-12)
    imaginary = x.conj().imag
    assert imaginary.is_neg()
    expected = fprop(imaginary.resolve_neg(), weight.real.contiguous())
    assert torch.equal(fprop(imaginary, weight.real), expected)


# --- devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_a_missing_gpu_is_said_with_what_to_do():
    if not hasattr(ops.fprop.default, "redispatch"):
        pytest.skip("before PyTorch 2.0 an operator has no redispatch()")
    cuda = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    with pytest.raises(RuntimeError, match=r"driver|GPU"):
        ops.fprop.default.redispatch(cuda, X, W, None, None, *PLAIN, *TAIL)


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", [PLAIN, (3, 7, 5, "reflect", 4, 1), (1, 2, 2, "zeros", 2, 16)])
def test_gradients_have_the_same_bits_for_every_number_of_threads(geometry):
    groups = geometry[-1]
    x, weight = torch.randn(3, 16, 1003), torch.randn(32, 16 // groups, 5)
    results = []
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        y = fprop(x, weight, geometry=geometry)
        results.append(
            (y, ops.dgrad(y, weight, 1003, *geometry, "follow"), *ops.wgrad(x, y, 5, *geometry, True, "follow"))
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_calls_from_many_threads_share_the_plans():
    problems = [(torch.randn(1, 4, 20 + n % 7), torch.randn(6, 4, 1 + n % 3)) for n in range(21)]
    expected = [fprop(x, weight) for x, weight in problems]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            assert all(map(torch.equal, pool.map(lambda p: fprop(*p), problems), expected))


def test_more_shapes_than_the_cache_holds():
    weight = torch.ones(1, 1, 1)
    for length in (*range(1, 1100), 1, 2, 3):
        assert fprop(torch.ones(1, 1, length), weight).shape == (1, 1, length)


# --- loading ----------------------------------------------------------------------------------------------------------


def test_plan_and_build_info_are_text():
    assert longconv.plan("fprop n2 c3->4 l99 k3").startswith("problem")
    assert "threads3" in longconv.plan("dgrad n2 c3->4 l99 k3", 3)
    info = longconv.build_info()
    assert f"longconv {longconv.__version__}" in info
    assert torch.__version__.split("+")[0].rstrip("a0")[:4] in info


def test_library_of_another_pytorch_is_refused_by_name(monkeypatch, tmp_path):
    assert _ops._series(_ops._built_for(_ops._LIBRARY)) == _ops._series(torch.__version__)
    library = tmp_path / "_C.so"
    library.write_bytes(b"\x7fELF...longconv-built-for-torch=1.9.1;...")
    monkeypatch.setattr(_ops, "_LIBRARY", library)
    with pytest.raises(ImportError, match=r"built for PyTorch 1\.9\.1, but PyTorch 2?1?\."):
        _ops._load()
    monkeypatch.setattr(_ops, "_LIBRARY", tmp_path / "none.so")
    with pytest.raises(ImportError, match="missing"):
        _ops._load()
    library.write_bytes(f"junk longconv-built-for-torch={torch.__version__};".encode())
    monkeypatch.setattr(_ops, "_LIBRARY", library)
    with pytest.raises(ImportError, match="cannot be loaded"):
        _ops._load()


def test_the_library_knows_no_python_and_brings_no_threads_of_its_own():
    """One binary for every Python; PyTorch's OpenMP runtime, not a second one."""
    tool = next((t for t in ("readelf", "objdump") if _runs(t)), None)
    if tool is None:
        pytest.skip("needs binutils")
    flag = "-d" if tool == "readelf" else "-p"
    text = subprocess.run([tool, flag, str(_ops._LIBRARY)], capture_output=True, text=True, check=True).stdout
    needed = [line for line in text.splitlines() if "NEEDED" in line]
    assert needed
    assert not [line for line in needed if "python" in line or "omp" in line], needed
    assert not [line for line in text.splitlines() if "RPATH" in line or "RUNPATH" in line]


def _runs(tool):
    try:
        return subprocess.run([tool, "--version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_import_needs_no_arithmetic_packages():
    """`import longconv` loads torch and nothing that torch does not."""
    code = (
        "import sys, torch; before = set(sys.modules); import longconv; "
        "print([m for m in set(sys.modules) - before if m.split('.')[0] in ('scipy', 'matplotlib', 'tqdm', 'hypothesis')])"
    )
    root = str(Path(longconv.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": root, "PATH": ""}
    )
    assert result.stdout.strip() == "[]"
