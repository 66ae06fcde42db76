# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The benchmark from the command line to its files: records, text, README section, picture."""

from __future__ import annotations

import copy
import json
import pathlib
import shlex

import pytest
import torch

import longconv.functional
from longconv.bench import cli, clocks, environment, report, roofline, summary, table
from longconv.bench import record as records_io

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICK = ["--rounds", "2", "--min-time", "0", "--max-time", "0.2"]
SMALL = "fprop n1 c4->8 l500 k3 s2 f32"


def _make_rates_small(monkeypatch):
    """The rates of the machine play no part here."""
    monkeypatch.setitem(roofline._COPY_BYTES, "cpu", 1 << 16)
    monkeypatch.setitem(roofline._GEMM_SIZE, "cpu", 32)


@pytest.fixture
def small_rates(monkeypatch):
    _make_rates_small(monkeypatch)


@pytest.fixture(scope="module")
def measured_record(tmp_path_factory):
    """One real record."""
    path = tmp_path_factory.mktemp("bench") / "one.jsonl"
    with pytest.MonkeyPatch.context() as monkeypatch:
        _make_rates_small(monkeypatch)
        pages = environment.huge_pages()
        assert cli.main(["--replay", SMALL, "--huge-pages", pages, "--json", str(path), *QUICK]) == 0
    (found,) = records_io.read([path])
    return found


@pytest.fixture
def record(measured_record):
    """A copy of it, to be changed at will."""
    return copy.deepcopy(measured_record)


def _with(record, case, problem=SMALL, ratio=2.0, **changes):
    """A copy with another name, problem and ratio, and with some numbers or fields replaced."""
    other = copy.deepcopy(record)
    other.update(case=case, problem=problem, cases="judged_cpu", error=None)
    other["numbers"]["ratio"] = {"median": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio}
    other["numbers"]["rounds"]["disturbed"] = False
    for name, value in changes.items():
        where = next(part for part in (other, other["numbers"], other["device"]) if name in part)
        where[name] = value
    return other


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_record_holds_what_it_takes_to_repeat_it(record):
    assert record["problem"] == SMALL
    assert record["device"]["kind"] == "cpu"
    assert record["device"]["threads"] == torch.get_num_threads()
    assert record["device"]["isa"] in ("portable", "avx2", "avx512")
    assert record["versions"]["torch"] == torch.__version__
    assert record["plan"]
    numbers = record["numbers"]
    assert len(numbers["samples"]["ours_ms"]) == len(numbers["samples"]["pytorch_ms"]) == numbers["rounds"]["total"]
    assert 0 < numbers["ours_ms"]["min"] <= numbers["ours_ms"]["q1"] <= numbers["ours_ms"]["median"]
    assert numbers["ratio"]["low"] <= numbers["ratio"]["median"] <= numbers["ratio"]["high"]
    assert str(ROOT) not in json.dumps(record)


def test_the_replay_line_measures_the_same_problem(small_rates, record, tmp_path):
    program, command, *arguments = shlex.split(record["replay"])
    assert (program, command) == ("longconv", "bench")
    path = tmp_path / "again.jsonl"
    assert cli.main([*arguments, *QUICK, "--json", str(path)]) == 0
    (again,) = records_io.read([path])
    assert (again["problem"], again["device"]) == (record["problem"], record["device"])


def test_records_read_back(record, tmp_path):
    failed = {**record, "numbers": None, "error": "NotImplementedError: no"}
    path = tmp_path / "some" / "where.jsonl"
    records_io.write(path, [record, failed])
    assert records_io.read([path, path]) == [record, failed] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("replay"), "missing field 'replay'"),
        (lambda r: r.update(extra=1), "unknown field 'extra'"),
        (lambda r: r.update(schema=2), "schema 2, expected 1"),
        (lambda r: r.update(error="both"), "exactly one"),
        (lambda r: r["numbers"].update(gflops="fast"), "record.numbers.gflops: expected a number, got 'fast'"),
        (lambda r: r["numbers"]["rounds"].update(total=True), "record.numbers.rounds.total: expected int"),
        (lambda r: r["numbers"]["samples"]["ours_ms"].append(None), "ours_ms["),
        (lambda r: r["device"].pop("isa"), "record.device: missing field 'isa'"),
    ],
)
def test_a_malformed_record_is_named(record, tmp_path, change, message):
    bad = copy.deepcopy(record)
    change(bad)
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(record) + "\n" + json.dumps(bad) + "\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 2: ") as error:
        records_io.read([path])
    assert message in str(error.value)


# --- many records -----------------------------------------------------------------------------------------------------


def test_latest_wins(record):
    old = _with(record, "a", date="2026-01-01T00:00:00Z", ratio=1.0)
    new = _with(record, "a", date="2026-01-02T00:00:00Z", ratio=2.0)
    other_pages = _with(record, "a", date="2025-01-01T00:00:00Z", huge_pages="on")
    assert summary.latest([new, old, other_pages]) == [new, other_pages]


def test_geometric_means_by_pass_and_setting(record):
    records = [
        _with(record, "a", ratio=2.0),
        _with(record, "b", ratio=8.0),
        _with(record, "a", huge_pages="on", ratio=3.0),
        _with(record, "a", problem="wgrad n1 c4->8 l500 k3 f32", ratio=0.5),
        _with(record, "c", numbers=None, error="RuntimeError: no"),
    ]
    means = [(m.pass_name, m.setting.huge_pages, m.ratio, m.cases, m.failed) for m in summary.geometric_means(records)]
    assert means == [
        ("fprop", records[0]["device"]["huge_pages"], pytest.approx(4.0), 2, 1),
        ("fprop", "on", pytest.approx(3.0), 1, 0),
        ("wgrad", records[0]["device"]["huge_pages"], pytest.approx(0.5), 1, 0),
    ]
    assert summary.geometric_means(records)[0].worst_case == "a"


def _times(milliseconds):
    return {"median": milliseconds, "min": milliseconds, "q1": milliseconds, "q3": milliseconds, "host": milliseconds}


def test_odd_sizes_are_compared_by_element(record):
    near = _with(record, "near", problem="fprop n1 c1->1 l100 k1 f32", ours_ms=_times(1.0), pytorch_ms=_times(2.0))
    odd = _with(record, "odd", problem="fprop n1 c1->1 l200 k1 f32", ours_ms=_times(3.0), pytorch_ms=_times(4.0))
    odd["neighbour"] = "near"
    other_pass = _with(record, "odd", problem="dgrad n1 c1->1 l200 k1 f32", ours_ms=_times(9.0))
    other_pass["neighbour"] = "near"
    (found,) = summary.odd_sizes([near, odd, other_pass])
    assert found.record["case"] == "odd"
    assert (found.slowdown, found.pytorch_slowdown) == (pytest.approx(1.5), pytest.approx(1.0))
    assert "odd sizes" in table.render([near, odd])


def test_text_table(record):
    failed = _with(record, "broken", numbers=None, error="NotImplementedError: later")
    disturbed = _with(record, "noisy", ratio=0.8)
    disturbed["numbers"]["rounds"] = {"total": 5, "dropped": [], "disturbed": True}
    text = table.render([_with(record, "calm", ratio=3.251), disturbed, failed])
    lines = text.splitlines()
    assert lines[0].startswith("case ")
    assert "3.25  2.93-3.58" in lines[1]
    assert lines[2].endswith("5~")
    assert "NotImplementedError: later" in text
    assert "1.61 over 2 cases, 1 not measured; least 0.80 (noisy)" in text
    assert record["replay"] in text


@pytest.mark.parametrize(("value", "text"), [(0.01234, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123")])
def test_milliseconds(value, text):
    assert table.milliseconds(value) == text


# --- README -----------------------------------------------------------------------------------------------------------


def test_markdown(record):
    kind = {"ours_ms": _times(10.0), "pytorch_ms": _times(25.0)}
    wgrad = SMALL.replace("fprop", "wgrad")
    text = report.markdown(
        [
            _with(record, "a", ratio=2.5, huge_pages="as-it-comes", **kind),
            _with(record, "a", ratio=1.6, huge_pages="on", **kind),
            _with(record, "b", ratio=0.4, huge_pages="as-it-comes", **kind),
            _with(record, "a", problem=wgrad, ratio=7.0, huge_pages="as-it-comes", **kind),
        ]
    )
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0].count("|") == 7
    assert rows[2] == (
        "| a: replayed problem | `n1 c4->8 l500 k3 s2` | 10.0, 25.0 | **2.50** (1.60) | 10.0, 25.0 | **7.00** (–) |"
    )
    assert rows[3].endswith("| 10.0, 25.0 | **0.40** (–) |  |  |")
    assert rows[4] == "| **geometric mean** |  |  | **1.00** (1.60) |  | **7.00** (–) |"


def test_readme_is_written_and_checked(record, tmp_path, capsys):
    results, readme = tmp_path / "r.jsonl", tmp_path / "README.md"
    records_io.write(results, [_with(record, "a")])
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    arguments = [str(results), "--readme", str(readme)]
    assert report.main([*arguments, "--check"]) == 1
    assert "old" in readme.read_text()
    assert report.main(arguments) == 0
    text = readme.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n<!-- generated")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
    assert report.main([*arguments, "--check"]) == 0
    records_io.write(results, [_with(record, "a", ratio=9.0)])
    assert report.main([*arguments, "--check"]) == 1
    capsys.readouterr()
    assert report.main([str(results)]) == 0
    assert "**9.00**" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["none", f"{report.END}{report.BEGIN}", f"{report.BEGIN}{report.BEGIN}{report.END}"])
def test_a_readme_without_markers_is_refused(text):
    with pytest.raises(ValueError, match="once each"):
        report.insert(text, "section")


@pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="not a source checkout")
def test_the_readme_shows_the_committed_results():
    results = sorted(str(path) for path in (ROOT / "bench" / "results").glob("*.jsonl"))
    if results:
        assert report.main([*results, "--readme", str(ROOT / "README.md"), "--check"]) == 0
    else:
        section = (ROOT / "README.md").read_text(encoding="utf-8").split(report.BEGIN)[1].split(report.END)[0]
        assert section.strip() == ""


# --- command line -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_both_huge_page_settings_a_list_and_a_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    import matplotlib.image

    cases = tmp_path / "mine.json"
    entries = [
        {"name": "plain", "what": "plain", "problem": "n1 c4->8 l3000 k3", "passes": ["dgrad", "fprop"]},
        {"name": "padded", "what": "padded", "problem": "n2 c4->4 l3000 k5 g4 p(4,0) bias gelu", "passes": ["wgrad"]},
    ]
    cases.write_text(json.dumps({"description": "test", "cases": entries}))
    jsonl, png = tmp_path / "out.jsonl", tmp_path / "out.png"
    arguments = ["--cases", str(cases), "--huge-pages", "both", "--json", str(jsonl), "--plot", str(png), *QUICK]
    assert cli.main(arguments) == 0
    records = records_io.read([jsonl])
    measurements = [("plain", "fprop"), ("plain", "dgrad"), ("padded", "wgrad")]
    assert [(r["device"]["huge_pages"], r["case"], r["problem"].split()[0]) for r in records] == [
        (pages, *measurement) for pages in ("as-it-comes", "on") for measurement in measurements
    ]
    assert {record["cases"] for record in records} == {"mine"}
    assert all(record["error"] is None for record in records)
    output = capsys.readouterr().out
    assert output.count("longconv bench --device cpu") == 6
    image = matplotlib.image.imread(png)
    assert image.shape[0] > 500
    assert image[..., :3].std() > 0.05  # something was drawn


def test_a_failure_is_reported_and_the_rest_goes_on(small_rates, monkeypatch, capsys):
    def conv1d(*arguments, **options):
        raise NotImplementedError("not yet")

    monkeypatch.setattr(longconv.functional, "conv1d", conv1d)
    dgrad = SMALL.replace("fprop", "dgrad")
    assert cli.main(["--replay", SMALL, "--replay", dgrad, *QUICK]) == 1
    output = capsys.readouterr().out
    assert output.count("NotImplementedError: not yet") == 1
    assert "dgrad f32" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cases", "nothing_like_it"], "no case list 'nothing_like_it'"),
        (["--filter", "nothing_like_it"], "nothing selected"),
        (["--replay", "fprop z9"], "'z9' not understood"),
        (["--precision", "tf32"], "tf32 exists on CUDA only"),
        (["--replay", SMALL, "--clock", "cpu", "--threads", "2"], "one thread only, got 2"),
    ],
)
def test_bad_options_say_what_is_wrong(arguments, message, capsys):
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_no_gpu_is_one_clear_sentence(capsys):
    assert cli.main(["--device", "cuda"]) == 2
    assert "finds no CUDA device" in capsys.readouterr().err


def test_list_prints_problems_and_measures_nothing(monkeypatch, capsys):
    monkeypatch.setattr(clocks.CpuClock, "sample", None)
    assert cli.main(["--list", "--filter", "seed", "--passes", "dgrad", "--dtypes", "f32,bf16"]) == 0
    shape = "dgrad n1 c64->128 l524280 k3 s3 d4"
    assert capsys.readouterr().out.splitlines() == [f"seed/64: {shape} f32", f"seed/64: {shape} bf16"]
