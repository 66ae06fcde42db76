# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The benchmark's own correctness: statistics, rounds, problems, lists, agreement. No timing decides anything."""

from __future__ import annotations

import json
import math
import re
import statistics

import pytest
import torch

from longconv.bench import case_files, clocks, measure, operands, paired, roofline, stats
from longconv.bench.case_files import Case
from longconv.bench.clocks import Sample
from longconv.bench.problem import PASSES, Problem

numpy = pytest.importorskip("numpy")


# --- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 10, 101])
@pytest.mark.parametrize("fraction", [0.0, 0.025, 0.25, 0.5, 0.75, 1.0])
def test_quantile_is_numpys(count, fraction):
    samples = [math.sin(7.0 * i) for i in range(count)]
    assert stats.quantile(samples, fraction) == pytest.approx(float(numpy.quantile(samples, fraction)), abs=1e-15)


def test_summary():
    summary = stats.summarize([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (summary.median, summary.minimum, summary.interquartile_range) == (3.0, 1.0, 2.0)


def test_paired_ratio_cancels_what_slows_both_sides_down():
    slowdowns = [1.0, 5.0, 1.3, 40.0, 2.0, 1.1, 9.0]
    ratio = stats.paired_ratio([2.0 * s for s in slowdowns], [3.0 * s for s in slowdowns])
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((1.5, 1.5, 1.5))


def test_paired_ratio_is_robust_and_reproducible():
    ours = [1.0] * 20
    theirs = [2.0 + 0.01 * i for i in range(19)] + [1000.0]
    first, second = stats.paired_ratio(ours, theirs), stats.paired_ratio(ours, theirs)
    assert first == second
    assert first.value == statistics.median(theirs)
    assert 2.0 <= first.low < first.value < first.high <= 2.18


def test_bootstrap_interval_covers_the_median_about_as_often_as_it_says():
    generator = numpy.random.default_rng(3)
    covered = 0
    for _ in range(60):
        ratio = stats.paired_ratio([1.0] * 25, list(generator.lognormal(0.0, 0.2, 25)))
        covered += ratio.low <= 1.0 <= ratio.high
    assert 51 <= covered <= 59  # 95 % of 60 is 57; the bootstrap of a median is a little off at 25 samples


def test_statistics_refuse_what_has_no_answer():
    with pytest.raises(ValueError, match="2 and 1"):
        stats.paired_ratio([1.0, 1.0], [1.0])
    for call in (lambda: stats.paired_ratio([], []), lambda: stats.quantile([], 0.5), lambda: stats.geometric_mean([])):
        with pytest.raises(ValueError, match="no "):
            call()
    with pytest.raises(ValueError, match="positive"):
        stats.geometric_mean([1.0, 0.0])
    assert stats.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


# --- rounds -----------------------------------------------------------------------------------------------------------


class ScriptedClock:
    """Runs the call and takes what it returns for the sample."""

    def sample(self, call, calls):
        return call()


def _script(name, log, preempted=()):
    state = {"count": -2}  # two warm-up samples come first

    def call():
        index = state["count"]
        state["count"] += 1
        log.append((name, index))
        return Sample(0.5, 0.5, 0.0, index in preempted)

    return call


def test_sides_alternate_and_the_order_changes():
    log = []
    budget = paired.Budget(least_rounds=4, least_seconds=0.0)
    rounds = paired.run(_script("a", log), _script("b", log), ScriptedClock(), budget)
    assert [entry for entry in log if entry[1] >= 0] == [
        *[("a", 0), ("b", 0)],
        *[("b", 1), ("a", 1)],
        *[("a", 2), ("b", 2)],
        *[("b", 3), ("a", 3)],
    ]
    assert rounds.kept == [0, 1, 2, 3]
    assert not rounds.dropped
    assert not rounds.is_disturbed


def test_a_round_is_dropped_when_either_side_was_preempted_and_made_up_for():
    log = []
    budget = paired.Budget(least_rounds=4, least_seconds=0.0)
    rounds = paired.run(_script("a", log, {1}), _script("b", log, {3}), ScriptedClock(), budget)
    assert rounds.dropped == [1, 3]
    assert rounds.kept == [0, 2, 4, 5]
    assert not rounds.is_disturbed


def test_a_measurement_without_calm_rounds_keeps_all_and_says_so():
    log = []
    always = set(range(1000))
    budget = paired.Budget(least_rounds=4, least_seconds=0.0, most_rounds=7)
    rounds = paired.run(_script("a", log, always), _script("b", log), ScriptedClock(), budget)
    assert rounds.is_disturbed
    assert rounds.kept == list(range(7))
    assert not rounds.dropped


def test_rounds_stop_at_the_time_limit():
    log = []
    always = set(range(1000))
    budget = paired.Budget(least_rounds=4, least_seconds=0.0, most_rounds=1000, most_seconds=0.0)
    rounds = paired.run(_script("a", log, always), _script("b", log), ScriptedClock(), budget)
    assert len(rounds.ours) == 4


@pytest.mark.parametrize(("waited_seconds", "is_preempted"), [(0.0, False), (50e-6, False), (10.0, True)])
def test_cpu_clock_marks_a_sample_by_waiting_alone(monkeypatch, waited_seconds, is_preempted):
    readings = iter([{"1": 5, "2": 7}, {"1": 5, "2": 7 + int(waited_seconds * 1e9)}])
    monkeypatch.setattr(clocks, "_waited_ns", lambda: next(readings))
    sample = clocks.CpuClock().sample(lambda: None, 3)
    assert sample.is_preempted is is_preempted
    assert sample.waited_seconds == pytest.approx(waited_seconds)


def test_cpu_clock_holds_results_until_it_has_stopped():
    alive = []

    class Result:
        def __init__(self):
            alive.append(self_id := id(self))
            self.self_id = self_id

        def __del__(self):
            alive.remove(self.self_id)

    counts = []

    def call():
        counts.append(len(alive))
        return Result()

    clocks.CpuClock().sample(call, 4)
    assert counts == [0, 1, 2, 3]
    assert not alive


@pytest.mark.skipif(not clocks._waited_ns(), reason="this kernel does not count waiting")
def test_peak_extra_bytes_sees_a_temporary_of_64_mebibytes():
    def call():
        temporary = torch.ones(16 << 20)
        return temporary.sum() + 1

    extra = clocks.peak_extra_bytes(call, torch.device("cpu"), 4)
    assert extra is not None
    assert 60 << 20 <= extra <= 80 << 20


# --- problems and lists -----------------------------------------------------------------------------------------------

PROBLEMS = [
    "fprop n64 c64->128 l524280 k3 s3 d4 f32",
    "dgrad n1 c96->192 l1000 k7 s2 g96 p3 f64",
    "wgrad n2 c8->4 l100 k5 d2 g4 p(4,0) circular bf16 bias",
    "fprop n0 c1->1 l9 k9 f16",
    "fprop n3 c6->4 l50 k3 g2 p(1,2) reflect f32 bias residual leaky_relu(0.2)",
    "fprop n1 c2->2 l8 k1 c64 bias",
    "dgrad n1 c2->2 l8 k3 p1 replicate c128",
    "fprop n1 c3->5 l20 k4 f32 residual gelu_tanh",
    "fprop n1 c3->5 l20 k4 i64",
]


@pytest.mark.parametrize("text", PROBLEMS)
def test_problem_reads_prints_and_counts_as_the_library_does(text):
    problem = Problem.parse(text)
    assert str(problem) == text
    lines = torch.ops.longconv.plan(text, 1).splitlines()
    assert lines[0].split(None, 1) == ["problem", text]
    flops, amount = re.fullmatch(r"\s*(\S+ ?\S*)FLOP, (\S+ ?\S*)B compulsory", lines[1]).groups()
    assert _number(flops) == pytest.approx(problem.flops, rel=2e-2)
    assert _number(amount) == pytest.approx(problem.compulsory_bytes, rel=2e-2)


TRANSPOSED = {  # problem: (PyTorch's output_padding, shape of the result)
    "transposed n2 c5->4 l22 k3 s2 d2 p1 f32": (1, (2, 5, 22)),
    "transposed n1 c6->8 l41 k4 s3 g2 bf16 bias": (1, (1, 6, 41)),
    "transposed n3 c1->1 l9 k3 f64": (0, (3, 1, 9)),
}


@pytest.mark.parametrize("text", TRANSPOSED)
def test_a_transposed_problem_is_the_librarys_dgrad(text):
    problem = Problem.parse(text)
    assert str(problem) == text
    assert (problem.output_padding, problem.result_sizes) == TRANSPOSED[text]
    assert problem.library_form == text.replace("transposed", "dgrad")
    lines = torch.ops.longconv.plan(problem.library_form, 1).splitlines()
    flops, amount = re.fullmatch(r"\s*(\S+ ?\S*)FLOP, (\S+ ?\S*)B compulsory", lines[1]).groups()
    assert _number(flops) == pytest.approx(problem.flops, rel=2e-2)
    assert _number(amount) == pytest.approx(problem.compulsory_bytes, rel=2e-2)
    assert problem.result_bytes == math.prod(problem.result_sizes) * (
        8 if "f64" in text else 2 if "bf16" in text else 4
    )
    tensors = operands.make_operands(problem, torch.device("cpu"))
    assert tensors.x.numel() == 0  # nobody reads it
    ours, theirs = (engine(problem, tensors)() for engine in (operands.longconv_engine, operands.pytorch_engine))
    assert ours.shape == problem.result_sizes
    assert operands.relative_difference(ours, theirs) <= operands.agreement_limit(problem)


def test_transposed_cases_are_measured_as_such():
    for name, batch in (("judged_cpu", (1, 1, 1)), ("judged_gpu", (64, 32, 16))):
        cases = [case for case in case_files.load(name) if "transposed" in case.passes]
        found = [p for case in cases for p in case_files.problems(case, PASSES, ["f32"], ["fp32"])]
        assert [(p.batch, p.out_channels, p.in_channels, p.kernel_size, p.out_length) for p in found] == [
            (batch[0], 128, 128, 3, 65536),
            (batch[1], 32, 64, 5, 131072),
            (batch[2], 32, 64, 3, 131072),
        ]
        assert [p.output_padding for p in found] == [0, 0, 0]


def _number(text):
    value, prefix = re.fullmatch(r"([0-9.e+]+) ?([kKMGTP]?)", text).groups()
    return float(value) * 1000 ** " KMGTP".index(prefix.upper() or " ")


def test_problem_counts_by_hand():
    problem = Problem.parse("fprop n2 c4->6 l20 k3 s2 d2 g2 p(1,2) f32 bias")
    assert problem.out_length == (20 + 3 - 5) // 2 + 1 == 10
    assert problem.flops == 2 * 2 * 6 * 10 * (2 * 3)
    assert problem.compulsory_bytes == 4 * (2 * 4 * 20 + 2 * 6 * 10 + 6 * 2 * 3 + 6)
    assert problem.result_bytes == 4 * 2 * 6 * 10
    assert problem.in_pass("dgrad").result_bytes == 4 * 2 * 4 * 20
    assert problem.in_pass("wgrad").result_bytes == 4 * (6 * 2 * 3 + 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fprop n1 c1->1 l9 k3 q7", "'q7' not understood"),
        ("fprop n1 c1-1 l9 k3", "'c1-1' not understood"),
        ("fprop n1 c3->4 l9 k3 g2", "groups must divide"),
        ("fprop n1 c1->1 l9 k10", "out_length 0"),
        ("fprop n1 c1->1 l9 k3 s0", "stride must be at least 1"),
        ("fprop n1 c1->1 l9 k3 f64 tf32", "tf32"),
        ("dgrad n1 c1->1 l9 k3 bias", "dgrad is measured without bias"),
        ("transposed n1 c1->1 l9 k3 p(1,0)", "symmetrically"),
        ("wgrad n1 c1->1 l9 k3 relu", "only the forward pass"),
    ],
)
def test_problem_says_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Problem.parse(text)


def test_the_packages_lists_are_sound():
    assert case_files.available() == ["host_gpu", "judged_cpu", "judged_gpu", "odd_cpu", "odd_gpu"]
    for name in case_files.available():
        for case in case_files.load(name):
            assert case.problem.shape == Problem.parse(case.problem.shape).shape
            assert case.what
    headline = next(case for case in case_files.load("judged_gpu") if case.name == "seed")
    assert str(headline.problem) == "fprop n64 c64->128 l524280 k3 s3 d4 f32"


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_odd_lists_are_odd(device):
    cases = {case.name: case for case in case_files.load(f"odd_{device}")}
    odd = [case for case in cases.values() if case.neighbour is not None]
    channels = {case.problem.in_channels for case in odd if case.name.startswith("channels/")}
    assert channels == {1, 3, 7, 65, 100, 513}
    for case in odd:
        near = cases[case.neighbour].problem
        difference = case.problem.length - near.length
        if case.what == "prime length":
            length = case.problem.length
            assert all(length % divisor for divisor in range(2, math.isqrt(length) + 1))
        elif not case.name.startswith("channels/"):
            assert case.what == f"length +{difference}"
            assert difference in (1, 2, 3)
        else:
            assert difference == 0
            assert near.in_channels % 4 == 0


def test_a_list_may_be_a_file_and_says_what_is_wrong(tmp_path):
    path = tmp_path / "mine.json"

    def load(*entries):
        path.write_text(json.dumps({"description": "", "cases": list(entries)}))
        return case_files.load(str(path))

    good = {"name": "a", "what": "w", "problem": "n1 c1->1 l9 k3", "passes": ["dgrad"]}
    (case,) = load(good)
    assert case.passes == ("dgrad",)
    with pytest.raises(ValueError, match="more than once"):
        load(good, good)
    with pytest.raises(ValueError, match="neighbour 'b'"):
        load({**good, "neighbour": "b"})
    with pytest.raises(ValueError, match="unknown keys"):
        load({**good, "shape": 1})
    with pytest.raises(ValueError, match="needs 'name'"):
        load({"name": "a"})
    with pytest.raises(ValueError, match="pass 'forward'"):
        load({**good, "passes": ["forward"]})
    with pytest.raises(ValueError, match="judged_cpu"):
        case_files.load("no_such_list")


def test_select_keeps_neighbours():
    names = [case.name for case in case_files.select(case_files.load("odd_cpu"), r"channels/65")]
    assert names == ["channels/64", "channels/65"]


def test_problems_cross_passes_dtypes_and_precisions():
    case = Case("a", "", Problem.parse("n1 c4->4 l9 k3 bias relu"), ("fprop", "wgrad"))
    found = [str(p) for p in case_files.problems(case, PASSES, ["f32", "bf16"], ["fp32", "tf32"])]
    assert found == [
        "fprop n1 c4->4 l9 k3 f32 bias relu",
        "fprop n1 c4->4 l9 k3 f32 tf32 bias relu",
        "fprop n1 c4->4 l9 k3 bf16 bias relu",
        "wgrad n1 c4->4 l9 k3 f32 bias",
        "wgrad n1 c4->4 l9 k3 f32 tf32 bias",
        "wgrad n1 c4->4 l9 k3 bf16 bias",
    ]


# --- what is compared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [text for text in PROBLEMS if "n64" not in text and "n0" not in text])
def test_both_sides_compute_the_same(text):
    problem = Problem.parse(text)
    tensors = operands.make_operands(problem, torch.device("cpu"))
    with torch.no_grad():
        ours = operands.longconv_engine(problem, tensors)()
        theirs = operands.pytorch_engine(problem, tensors)()
    assert operands.relative_difference(ours, theirs) <= operands.agreement_limit(problem)


def test_relative_difference():
    a = torch.tensor([[3.0, 4.0]])
    assert operands.relative_difference(a, a) == 0.0
    assert operands.relative_difference(a * 1.5, a) == pytest.approx(0.5)
    assert operands.relative_difference(a, torch.tensor([[3.0, math.nan]])) == math.inf
    assert operands.relative_difference(a, a[0]) == math.inf
    assert operands.relative_difference((a, torch.empty(0)), (None, a, None)) == 0.0


def test_a_wrong_result_is_not_timed():
    def wrong(problem, tensors):
        call = operands.pytorch_engine(problem, tensors)
        return lambda: call() * 1.001

    bench = measure.Bench(torch.device("cpu"), ours=wrong)
    record = bench.run("list", Case("a", "", Problem()), Problem.parse("n1 c4->4 l99 k3"))
    assert record["numbers"] is None
    assert re.match("Disagreement: results differ by 0.001 ", record["error"])


def test_cpu_time_is_for_one_thread():
    torch.set_num_threads(2)
    with pytest.raises(ValueError, match="got 2 threads"):
        measure.Bench(torch.device("cpu"), "cpu")


def test_floor_is_the_larger_of_bytes_and_flops():
    problem = Problem.parse("n1 c4->4 l1002 k3")
    assert problem.flops == 2 * 4 * 1000 * 12
    slow_memory, slow_product = roofline.Roofline(1e6, 1e12), roofline.Roofline(1e12, 1e6)
    assert slow_memory.floor_seconds(problem) == problem.compulsory_bytes / 1e6
    assert slow_product.floor_seconds(problem) == problem.flops / 1e6
    assert (slow_memory.bound(problem), slow_product.bound(problem)) == ("bytes", "flops")
    assert roofline.Roofline(1e6, None).floor_seconds(problem) == slow_memory.floor_seconds(problem)


def test_meter_measures_each_rate_once(monkeypatch):
    monkeypatch.setitem(roofline._COPY_BYTES, "cpu", 1 << 16)
    monkeypatch.setitem(roofline._GEMM_SIZE, "cpu", 32)
    meter = roofline.RooflineMeter(torch.device("cpu"), clocks.CpuClock(), most_seconds=0.2)
    first = meter.roofline("f32", "fp32")
    assert first == meter.roofline("c64", "fp32")
    assert first.copy_bytes_per_second > 0
    assert first.gemm_flops_per_second > 0
    assert meter.gemm_rate("i64", "fp32") is None
    assert meter.gemm_rate("bf16", "fp32") >= first.gemm_flops_per_second
