# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""`longconv plan --device`, `warmup` and `tune` where there is no GPU: models of GPU, fakes of driver and NVRTC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import longconv
from longconv.cli import main
from longconv.warming import problems_of

HEADLINE = "fprop n64 c64->128 l524280 k3 s3 d4 f32"
ROOT = Path(__file__).resolve().parents[2]
FAKES = {
    "LONGCONV_CUDA_DRIVER": ROOT / "build/dev/tests/libfake_cuda_driver.so",
    "LONGCONV_NVRTC": ROOT / "build/dev/tests/libfake_nvrtc.so",
}
needs_fakes = pytest.mark.skipif(
    not all(path.exists() for path in FAKES.values()), reason="the fakes are not built (make test-cpp)"
)


def run(commands: list[list[str]], cache: Path, fakes=FAKES, **environment: str) -> list[dict]:
    """Status, output and errors of each command line, all in one process with the fakes."""
    script = (
        "import contextlib, io, json, sys\n"
        "from longconv.cli import main\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    out, err = io.StringIO(), io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):\n"
        "        status = main(command)\n"
        "    print(json.dumps({'status': status, 'out': out.getvalue(), 'err': err.getvalue()}))\n"
    )
    env = {**os.environ, "LONGCONV_CACHE_DIR": str(cache), **{k: str(v) for k, v in fakes.items()}, **environment}
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- plan ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "words", "kernel"),
    [
        ("h100", "f32", "dense_fprop_split_sm90"),
        ("h100", "f32 tf32", "dense_fprop_sm90"),
        ("h200", "bf16", "dense_fprop_sm90"),
        ("h100", "f64", "direct_fprop"),
        ("a100", "f32", "dense_fprop_sm80"),
        ("a10", "f16", "dense_fprop_sm80"),
        ("rtx3090", "bf16", "dense_fprop_sm80"),
        ("l4", "f32 tf32", "dense_fprop_sm80"),
        ("l40s", "bf16", "dense_fprop_sm80"),
        ("rtx4090", "f32 tf32", "dense_fprop_sm80"),
        ("b200", "bf16", "dense_fprop_sm80"),
        ("rtx5090", "f16", "dense_fprop_sm80"),
    ],
)
def test_plan_for_a_model_of_gpu(device, words, kernel, capsys):
    problem = HEADLINE.replace("f32", words)
    assert main(["plan", problem, "--device", device]) == 0
    text = capsys.readouterr().out
    lines = dict(reversed([line.split(None, 1) for line in text.splitlines() if line[:1] != " "]))
    assert lines["problem"] == problem
    assert lines["chosen"].split()[0] == kernel
    assert "tuned" not in text
    assert longconv.plan(problem, device=device) == text


def test_plan_for_an_unknown_device(capsys):
    assert main(["plan", HEADLINE, "--device", "h1000"]) == 2
    assert '"h1000"; known are a100, ' in capsys.readouterr().err
    assert main(["plan", HEADLINE, "--device", "cuda:x"]) == 2
    assert '"cuda:1"' in capsys.readouterr().err
    assert main(["plan", HEADLINE, "--device", "h100", "--threads", "2"]) == 1
    assert "threads" in capsys.readouterr().err
    assert main(["plan", "dgrad c16->16 l99 k3 c64", "--device", "h100"]) == 1
    assert "no kernel supports dgrad" in capsys.readouterr().err


@needs_fakes
def test_plan_for_a_gpu_of_this_machine(tmp_path):
    plans = run([["plan", HEADLINE, "--device", d] for d in ("cuda", "cuda:1", "cuda:2")], tmp_path)
    assert [p["status"] for p in plans] == [0, 0, 2]
    assert "cuda 0 NVIDIA H100" in plans[0]["out"]
    assert "cuda 1 NVIDIA H100" in plans[1]["out"]
    assert "the process sees 2" in plans[2]["err"]


# --- what a model asks -----------------------------------------------------------------------------------------------


class Model(torch.nn.Module):
    """Found by `longconv warmup test_cli_gpu:Model`. It would take half a petabyte to compute."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv1d(16, 32, 8, stride=4)
        self.norm = torch.nn.BatchNorm1d(32)
        self.second = longconv.Conv1d(32, 32, 3, padding="causal", activation="gelu")

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        return self.second(self.second(x), residual=x)


def test_problems_of_a_model_without_computing(monkeypatch):
    model = Model()
    longconv.replace_conv1d(model)
    x = torch.empty(2000, 16, 4_000_000_004, device="meta")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    with torch.no_grad():
        assert problems_of(model, x) == [
            "fprop n2000 c16->32 l4000000004 k8 s4 f32 bias",
            "fprop n2000 c32->32 l1000000000 k3 p(2,0) f32 bias gelu",
            "fprop n2000 c32->32 l1000000000 k3 p(2,0) f32 bias residual gelu",
        ]
    # Where a gradient is wanted, gelu is PyTorch's own.
    assert problems_of(model, x)[1] == "fprop n2000 c32->32 l1000000000 k3 p(2,0) f32 bias"
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert problems_of(model, x)[0].endswith("f32 tf32 bias")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items()), "the model changed"


def test_problems_of_a_function_with_nested_inputs():
    def function(pair, scale):
        return longconv.functional.conv1d(pair["x"][0], pair["x"][1]) * scale

    x, w = torch.empty(3, 4, 50, dtype=torch.bfloat16), torch.empty(8, 4, 5, dtype=torch.bfloat16)
    assert problems_of(function, {"x": (x, w)}, 2.0) == ["fprop n3 c4->8 l50 k5 bf16"]


def test_warmup_errors():
    with pytest.raises(ValueError, match="expected a GPU, but got device 'cpu'"):
        longconv.warmup(HEADLINE, device="cpu")
    with pytest.raises(RuntimeError, match=r"no call of longconv's convolutions.*replace_conv1d"):
        longconv.warmup(torch.nn.Conv1d(4, 4, 3), torch.empty(1, 4, 9), device="h100")
    with pytest.raises(RuntimeError, match="lazy modules"):
        longconv.warmup(longconv.LazyConv1d(4, 3), torch.empty(1, 4, 9), device="h100")
    with pytest.raises(TypeError, match="problems and inputs"):
        longconv.warmup(HEADLINE, torch.empty(1), device="h100")
    with pytest.raises(ValueError, match='"h1000"'):
        longconv.warmup(HEADLINE, device="h1000")
    with pytest.raises(NotImplementedError, match="i64"):
        longconv.warmup("c4->4 l9 i64", device="h100")


# --- warmup and tune -------------------------------------------------------------------------------------------------


@needs_fakes
def test_warmup(tmp_path):
    driverless = {**FAKES, "LONGCONV_CUDA_DRIVER": Path("/nowhere")}
    shape = "n4 c64->128 l400004 k8 s4 f32 bias"
    model = ["warmup", "test_cli_gpu:Model", "--input", "1x16x4004:float32", "--device", "h100"]
    wrong = [
        ["warmup", "test_cli_gpu:Mode", "--device", "h100"],
        [*model[:2], "--input", "1x16xl"],
        [*model[:2], "--input", "1x16x4004:float31"],
        ["warmup", shape, "--input", "1x16x4004"],
        ["warmup", "n1 q", "--device", "h100"],
    ]
    done = run(
        [
            ["warmup", *shape.split(), "--device", "h100"],
            ["warmup", shape, "n1 c32->32 l99 k3 bf16", shape, "--device", "h100"],
            ["warmup", shape, "--device", "a100"],
            model,
            ["warmup", shape],
            *wrong,
        ],
        tmp_path,
        driverless,
    )
    first, second, other, models, here, *mistakes = done
    assert first["out"].startswith("1 problem, 3 kernels for h100: 3 compiled in ")
    assert first["out"].endswith(f", 0 found in {tmp_path}\n")
    assert second["out"].startswith("2 problems, ")
    assert f", 3 found in {tmp_path}" in second["out"]
    assert other["out"].startswith("1 problem, 3 kernels for a100: 3 compiled")
    assert models["out"].startswith("3 problems, "), models
    assert here["status"] == 1
    assert "no CUDA driver" in here["err"]
    assert [m["status"] for m in mistakes] == [2] * len(wrong)
    for mistake, word in zip(mistakes, ("Mode", "1x16xl", "float31", "--input", "'q'")):
        assert word in mistake["err"]
        assert mistake["out"] == ""


@needs_fakes
def test_warmup_says_what_is_missing(tmp_path):
    command = ["warmup", HEADLINE, "--device", "h100"]
    missing = run([command], tmp_path, {**FAKES, "LONGCONV_NVRTC": Path("/nowhere")})[0]
    assert missing["status"] == 1
    assert "LONGCONV_NVRTC=/nowhere" in missing["err"]
    disk = run([command], Path("/dev/null/x"))[0]
    assert disk["status"] == 1
    assert "cannot be kept on disk: cannot make the folder /dev/null/x" in disk["err"]


@needs_fakes
def test_tune_remembers_the_fastest(tmp_path):
    problem = "fprop n1 c64->128 l5000 k3 f32 tf32"
    plan = ["plan", problem, "--device", "cuda"]
    before, tuned, after, model = run(
        [plan, ["tune", problem], plan, ["plan", problem, "--device", "h100"]],
        tmp_path,
        FAKE_CUDA_FAST="longconv_dense_fprop_sm80",
    )
    assert tuned["status"] == 0, tuned["err"]
    assert "\nchosen     dense_fprop_sm90 " in before["out"]
    assert "\n* dense_fprop_sm80 " in tuned["out"]
    assert "\np dense_fprop_sm90 " in tuned["out"]
    assert f"100.00 x as fast as the planner's choice (p); remembered in {tmp_path}\n" in tuned["out"]
    assert "\nchosen     dense_fprop_sm80 " in after["out"]
    assert ": 0.001 ms tuned, " in after["out"]
    assert "\nchosen     dense_fprop_sm90 " in model["out"], "a model's plan is the planner's own"
    again = run([plan], tmp_path)[0]
    assert again["out"] == after["out"]


@needs_fakes
def test_tune_errors(tmp_path):
    commands = [
        (["tune", HEADLINE, "--device", "h100"], 2, "expected a GPU of this machine"),
        (["tune", HEADLINE, "--device", "cuda:7"], 2, "the process sees 2"),
        (["tune", "n1 q"], 2, "'q'"),
        (["tune", "n0 c4->4 l99"], 1, "batch of at least 1"),
        (["tune", "n1 c4->4 l99 i64"], 1, "no kernel supports"),
    ]
    for (command, status, word), done in zip(commands, run([c for c, _, _ in commands], tmp_path)):
        assert done["status"] == status, command
        assert word in done["err"], command
