# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The benchmark's CUDA side without a GPU: a device that calls itself CUDA and is the CPU. Timings mean nothing here."""

from __future__ import annotations

import copy
import dataclasses
import os
import time
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import longconv
from longconv.bench import (
    accuracy,
    cli,
    clocks,
    gpu_table,
    operands,
    paired,
    planner,
    precompile,
    report,
    roofline,
    summary,
)
from longconv.bench import record as records_io
from longconv.bench.clocks import Sample
from longconv.bench.problem import Problem

QUICK = ["--quick", "--max-time", "0.05"]
SMALL = "n2 c32->48 l2000 k3 s2"


class Pretended(str):
    """Tensors made on it are the CPU's."""

    type = "cuda"
    index = 0


class Event:
    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = time.perf_counter()

    def elapsed_time(self, end):
        return (end.at - self.at) * 1e3


@pytest.fixture
def pretended(monkeypatch):
    """What the harness asks of torch.cuda, answered by the CPU; plans are an H100's."""
    monkeypatch.setattr(cli.torch, "device", lambda name: Pretended("cpu"))
    answers = {
        "is_available": lambda: True,
        "synchronize": lambda device=None: None,
        "Event": Event,
        "get_device_properties": lambda device: SimpleNamespace(L2_cache_size=1 << 16),
        "get_device_capability": lambda device: (9, 0),
        "get_device_name": lambda device: "pretended GPU",
        "memory_allocated": lambda device: 100,
        "max_memory_allocated": lambda device: 100 + (3 << 20),
        "reset_peak_memory_stats": lambda device: None,
        "empty_cache": lambda: None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(planner, "device_name", lambda device: "h100")
    monkeypatch.setitem(roofline._COPY_BYTES, "cuda", 1 << 16)
    monkeypatch.setitem(roofline._GEMM_SIZE, "cuda", 32)
    benchmark, tf32 = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cudnn.benchmark = benchmark
    assert torch.backends.cudnn.allow_tf32 == tf32


@pytest.fixture
def cases(tmp_path):
    path = tmp_path / "judged_mine.json"
    path.write_text(
        f'{{"description": "", "cases": [{{"name": "dense", "what": "w", "problem": "{SMALL}"}},'
        '{"name": "few", "what": "w", "problem": "n1 c1->8 l500 k5 p2 bias relu"}]}'
    )
    return path


def measured(tmp_path, *arguments):
    path = tmp_path / "out.jsonl"
    assert cli.main(["--device", "cuda", "--json", str(path), *QUICK, *arguments]) == 0
    return records_io.read([path])


def test_a_whole_run(pretended, cases, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LONGCONV_CACHE_DIR", "before")
    records = measured(tmp_path, "--cases", str(cases), "--dtypes", "f32,bf16", "--configs", "--first-call")
    assert os.environ["LONGCONV_CACHE_DIR"] == "before"
    assert [(r["case"], r["problem"].split()[0], r["problem"].split(" ", 5)[-1]) for r in records][:3] == [
        ("dense", "fprop", "s2 f32"),
        ("dense", "fprop", "s2 f32 tf32"),
        ("dense", "fprop", "s2 bf16"),
    ]
    assert len(records) == 6
    for record in records:
        numbers = record["numbers"]
        assert record["error"] is None
        assert record["clock"] == "cuda-events"
        assert record["plan"]
        assert record["forced_kernel"] is None
        assert numbers["copy_ms"] > 0
        assert numbers["first_call_ms"] > 0
        assert 0 < numbers["error_ours"] < 1e-2
        assert 0 < numbers["error_pytorch"] < 1e-2
        assert numbers["planner"]["chosen_over_best"] >= 1
        assert numbers["planner"]["configs"][0]["config"] in record["plan"]
        assert "--device cuda" in record["replay"]
    text = report.markdown(records)
    assert text.count("| dense: w |") == 3
    assert text.count("of these dense") == 3
    assert "First call of a shape" in text
    assert "The planner's choice" in text
    assert "geometric means of the ratio" in capsys.readouterr().out


def test_the_hosts_time(pretended, tmp_path):
    (record,) = measured(tmp_path, "--clock", "host", "--replay", "fprop n1 c2->2 l64 k3 f32")
    assert record["clock"] == "host"
    assert "--clock host" in record["replay"]
    text = report.markdown([record])
    assert "The host's time for a warm call" in text
    assert "| case |" not in text


def test_a_forced_kernel_has_a_table_of_its_own(pretended, tmp_path):
    plain = measured(tmp_path, "--replay", f"fprop {SMALL} f32")[0]
    forced = {**copy.deepcopy(plain), "forced_kernel": "dense_fprop_sm80"}
    text = report.markdown([plain, forced])
    assert text.count("| case |") == 2
    assert text.count("`dense_fprop_sm80` forced") == 1


def test_a_later_record_keeps_what_only_an_earlier_one_looked_at(pretended, tmp_path):
    first = measured(tmp_path, "--replay", f"fprop {SMALL} f32", "--first-call", "--configs")[0]
    later = {**measured(tmp_path, "--replay", f"fprop {SMALL} f32")[0], "date": "2099-01-01T00:00:00Z"}
    (found,) = summary.latest([first, later])
    assert later["numbers"]["planner"] is None
    assert found["date"] == later["date"]
    assert found["numbers"]["planner"] == first["numbers"]["planner"]
    assert found["numbers"]["first_call_ms"] == first["numbers"]["first_call_ms"]
    assert found["numbers"]["ours_ms"] == later["numbers"]["ours_ms"]


def test_what_cannot_be_measured_stays_in_the_table(pretended, tmp_path, cases):
    records = measured(tmp_path, "--cases", str(cases), "--precision", "fp32")
    records[1] = {**records[1], "numbers": None, "error": "OutOfMemoryError: so much"}
    assert "| OutOfMemoryError |" in report.markdown(records)


def test_lines_from_before_these_fields_are_read(pretended, tmp_path):
    (record,) = measured(tmp_path, "--replay", f"fprop {SMALL} f32")
    for name in ("copy_ms", "first_call_ms", "planner", "error_ours", "error_pytorch"):
        del record["numbers"][name]
    del record["forced_kernel"], record["versions"]["driver"]
    again = records_io.validate(record)
    assert again["numbers"]["copy_ms"] is None
    assert again["forced_kernel"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--configs"], "about kernels on CUDA"),
        (["--device", "cuda", "--first-call", "--precompile", "2"], "empty kernel cache"),
        (["--clock", "host", "--replay", "fprop n1 c2->2 l64 k3"], "CUDA only"),
    ],
)
def test_bad_options_say_what_is_wrong(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


# --- the planner ------------------------------------------------------------------------------------------------------

PLAN = """\
problem    fprop n1 c64->128 l5000 k3 f32 tf32
device     cuda 0 NVIDIA H100
chosen     fast m1 n128: 1.0 ms expected, 1 kB, 1 FLOP, workspace 0 bytes
runner-up  fast m2 n128: 1.1 ms expected, 1 kB, 1 FLOP, workspace 0 bytes
runner-up  old n64: 3.9 ms expected, 1 kB, 1 FLOP, workspace 0 bytes
runner-up  fast m1 n256: 9.9 ms expected, 1 kB, 1 FLOP, workspace 0 bytes
runner-up  old n32: 4.0 ms expected, 1 kB, 1 FLOP, workspace 0 bytes
runner-up  slow: 4.1 ms expected, 1 kB, 1 FLOP, workspace 0 bytes
refused    none: needs compute capability 10.0
"""


def test_candidates_of_a_plan():
    found = planner.candidates(PLAN)
    assert [(entry.number, entry.text) for entry in found] == [
        (0, "fast m1 n128"),
        (1, "fast m2 n128"),
        (2, "old n64"),
        (3, "fast m1 n256"),
    ]


def test_candidates_of_a_real_plan():
    problem = Problem.parse("fprop n64 c64->128 l524280 k3 s3 d4 f32 tf32")
    plan = longconv.plan(str(problem), device="h100")
    found = planner.candidates(plan)
    assert found[0].kernel == "dense_fprop_sm90"
    assert [entry.number for entry in found[:3]] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"no candidate 1000: the plan of .* has"):
        torch.ops.longconv.compile_cuda_plan(str(problem), "h100", "", 1000)


def test_every_candidate_is_timed_and_the_force_is_taken_back(monkeypatch):
    forced = []

    def force(kernel, number):
        forced.append((kernel, number))

    class Fixed:
        def sample(self, call, calls):
            seconds = {0: 2e-3, 1: 1e-3, 2: 4e-3, 3: 8e-3}[forced[-1][1]]
            return Sample(seconds, seconds, 0.0, False)

    monkeypatch.setattr(planner, "plan_text", lambda problem, device: PLAN)
    monkeypatch.setattr(planner.torch, "ops", SimpleNamespace(longconv=SimpleNamespace(force_cuda_plan=force)))
    numbers = planner.compare(Problem(), torch.device("cpu"), lambda: None, Fixed())
    assert numbers["chosen_over_best"] == 2.0
    assert numbers["best"] == "fast m2 n128"
    assert [entry["ms"] for entry in numbers["configs"]] == [2.0, 1.0, 4.0, 8.0]
    assert forced[-1] == ("", 0)
    assert [number for _, number in forced[::2]] == [0, 1, 2, 3] * 2


def test_a_candidate_that_fails_is_named_and_left_out(monkeypatch, capsys):
    state = {"number": 0}

    class Broken:
        def sample(self, call, calls):
            if state["number"] == 1:
                raise RuntimeError("CUDA error: no\nmore")
            return Sample(1e-3, 1e-3, 0.0, False)

    force = SimpleNamespace(force_cuda_plan=lambda kernel, number: state.update(number=number))
    monkeypatch.setattr(planner, "plan_text", lambda problem, device: PLAN)
    monkeypatch.setattr(planner.torch, "ops", SimpleNamespace(longconv=force))
    numbers = planner.compare(Problem(), torch.device("cpu"), lambda: None, Broken())
    assert [entry["config"] for entry in numbers["configs"]] == ["fast m1 n128", "old n64", "fast m1 n256"]
    assert "fast m2 n128: CUDA error: no" in capsys.readouterr().err


def test_precompiling_knows_what_will_be_launched(monkeypatch):
    monkeypatch.setattr(planner, "plan_text", lambda problem, device: PLAN)
    problem = Problem.parse("fprop n1 c64->128 l5000 k3 f32 tf32")
    assert precompile.tasks_of(problem, torch.device("cuda:1"), False) == [(str(problem), "cuda:1", 0)]
    assert [task[2] for task in precompile.tasks_of(problem, torch.device("cuda"), True)] == [0, 1, 2, 3]


def test_precompiling_in_processes_survives_what_cannot_be_compiled():
    if torch.cuda.is_available():
        pytest.skip("for machines without a GPU")
    assert precompile.run([Problem.parse(f"fprop {SMALL}")], torch.device("cuda"), True, 2) == 0


# --- clocks and errors ------------------------------------------------------------------------------------------------


def test_host_clock_lets_the_device_catch_up(monkeypatch):
    log = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("wait"))
    sample = clocks.HostClock(torch.device("cuda")).sample(lambda: log.append("call"), 250)
    assert log.count("call") == 250
    assert log.count("wait") == 6
    assert max(len(part) for part in " ".join(log).split("wait")) <= 101 * len("call ")
    assert sample.seconds > 0


def test_a_hopeless_measurement_ends_after_a_round():
    class Slow:
        def sample(self, call, calls):
            return Sample(1.0, 1.0, 0.0, False)

    budget = paired.Budget(least_rounds=5, hopeless_seconds=0.0)
    assert len(paired.run(lambda: None, lambda: None, Slow(), budget).ours) == 1


@pytest.mark.parametrize(
    "text",
    [
        "fprop n3 c4->6 l3001 k5 s3 d2 p(4,7) f32 bias gelu",
        "fprop n1 c6->300 l900 k3 g2 f32 residual",
        "fprop n2 c4->6 l40 k3 bf16",
        "fprop n1 c1->1 l300000 k33 f32",
        "transposed n3 c4->6 l3001 k5 s3 d2 p4 f32 bias",
        "transposed n2 c300->6 l900 k3 s7 g2 f32",
        "transposed n2 c4->6 l40 k3 bf16",
        "dgrad n3 c4->6 l3001 k5 s3 d2 p4 f32",
    ],
)
def test_error_against_float64(text):
    problem = Problem.parse(text)
    tensors = operands.make_operands(problem, torch.device("cpu"))
    (y,) = operands.result_tensors(operands.pytorch_engine(problem, tensors)())
    error = accuracy.relative_rms_error(problem, tensors, y)
    assert 1e-9 < error < (5e-7 if problem.dtype == "f32" else 1e-2)
    for signal, first, samples in accuracy.slices(problem):
        exact = accuracy.exact_slice(problem, tensors, signal, first, samples)
        assert exact.shape == (problem.result_sizes[1], samples)
    wrong = y.clone()
    wrong[0, 0, 0] += 0.1
    assert accuracy.relative_rms_error(problem, tensors, wrong) > error
    assert accuracy.relative_rms_error(problem.replace(pad_mode="reflect"), tensors, y) is None


def test_exact_slice_is_the_convolution():
    problem = Problem.parse("fprop n1 c4->6 l300 k5 s2 d3 p4 f64")
    tensors = operands.make_operands(problem, torch.device("cpu"))
    whole = F.conv1d(tensors.x, tensors.weight, None, 2, 4, 3)
    assert torch.allclose(accuracy.exact_slice(problem, tensors, 0, 0, 50), whole[0, :, :50])
    assert torch.allclose(accuracy.exact_slice(problem, tensors, 0, 100, 48), whole[0, :, 100:])


def test_exact_slice_is_the_transposed_convolution():
    """Slices at the ends and between taps that leave gaps."""
    problem = Problem.parse("transposed n1 c4->6 l301 k2 s7 d2 p2 f64 bias")
    tensors = operands.make_operands(problem, torch.device("cpu"))
    whole = F.conv_transpose1d(tensors.grad_y, tensors.weight, tensors.bias, 7, 2, problem.output_padding, 1, 2)
    assert whole.shape == (1, 4, 301)
    for first, samples in ((0, 50), (1, 1), (6, 1), (100, 48), (300, 1), (251, 50)):
        exact = accuracy.exact_slice(problem, tensors, 0, first, samples)
        assert torch.allclose(exact, whole[0, :, first : first + samples])


@pytest.mark.parametrize(
    "text",
    [
        "wgrad n3 c4->6 l3001 k5 s3 d2 p4 f32 bias",
        "wgrad n2 c8->6 l900 k3 g2 f32",
        "wgrad n2 c1->1 l9 k7 d2 p8 f32",  # the first taps see padding only at the start
        "wgrad n2 c4->6 l400 k3 bf16",
    ],
)
def test_weight_gradient_error_against_float64(text):
    problem = Problem.parse(text)
    tensors = operands.make_operands(problem, torch.device("cpu"))
    result = operands.pytorch_engine(problem, tensors)()
    gradient = operands.result_tensors(result)[0]
    double = operands.make_operands(problem, torch.device("cpu"))
    double = operands.Operands(*(None if t is None else t.double() for t in dataclasses.astuple(double)))
    exact = operands.result_tensors(operands.pytorch_engine(problem.replace(dtype="f64"), double)())[0]
    weights = accuracy.some_weights(problem)
    assert len(set(weights)) == len(weights)
    for weight in weights:
        assert accuracy.exact_weight_gradient(problem, tensors, weight) == pytest.approx(
            float(exact[weight]), rel=1e-12
        )
    error = accuracy.relative_rms_error(problem, tensors, result)
    assert 1e-9 < error < (5e-7 if problem.dtype == "f32" else 1e-2)
    gradient[weights[-1]] += 0.1
    assert accuracy.relative_rms_error(problem, tensors, result) > error


def test_dense_shapes():
    assert gpu_table.is_dense(Problem.parse("n1 c16->1 l9 k3"))
    assert not gpu_table.is_dense(Problem.parse("n1 c12->64 l9 k3"))
    assert not gpu_table.is_dense(Problem.parse("n1 c32->32 l9 k3 g32"))
