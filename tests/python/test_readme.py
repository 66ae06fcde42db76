# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The README's example runs and does what its comments say."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_example(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "524_280" in example
    names = {}
    exec(example.replace("torch.randn(8, 64, 524_280)", "torch.randn(2, 64, 52_428)"), names)
    assert names["y"].shape == (2, 128, (52_428 - 8 - 1) // 3 + 1)
    assert names["z"].shape == (2, 64, 48_000)
    assert "1 swapped, 0 left" in capsys.readouterr().out
