# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Named lists of problems. A list is a JSON file in ``cases/`` beside this module, or any file of the same form:

``{"description": str, "cases": [{"name": str, "what": str, "problem": str, "passes": [str], "neighbour": str}]}``

``problem`` is a one-line problem without pass and dtype; ``passes`` (optional) the passes that the case is measured in
(fprop, dgrad and wgrad where nothing is said);
``neighbour`` (optional) the name of the round-sized case that an odd-sized one is compared with, per element.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from longconv.bench.problem import CONV1D_PASSES, PASSES, Problem

CASES_FOLDER = pathlib.Path(__file__).parent / "cases"


@dataclasses.dataclass(frozen=True)
class Case:
    """One shape of a list; ``problem`` holds the default pass and dtype until they are chosen."""

    name: str
    what: str
    problem: Problem
    passes: tuple[str, ...] = CONV1D_PASSES
    neighbour: str | None = None


def available() -> list[str]:
    """Names of the lists that come with the package."""
    return sorted(path.stem for path in CASES_FOLDER.glob("*.json"))


def load(name_or_path: str) -> list[Case]:
    """The cases of a list by its name ("judged_cpu") or by the path of a file.

    Raises ValueError with the names that exist, or with what is wrong in the file.
    """
    path = CASES_FOLDER / f"{name_or_path}.json"
    if not path.is_file():
        path = pathlib.Path(name_or_path)
    if not path.is_file():
        raise ValueError(f"no case list '{name_or_path}': neither a file nor one of {', '.join(available())}")
    document = json.loads(path.read_text(encoding="utf-8"))
    try:
        cases = [_read_case(entry) for entry in document["cases"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: a case needs 'name', 'what' and 'problem' ({error})") from error
    names = [case.name for case in cases]
    for case in cases:
        if names.count(case.name) > 1:
            raise ValueError(f"{path.name}: the name '{case.name}' occurs more than once")
        if case.neighbour is not None and case.neighbour not in names:
            raise ValueError(f"{path.name}: '{case.name}' names a neighbour '{case.neighbour}' that is not in the list")
    return cases


def _read_case(entry: dict[str, Any]) -> Case:
    unknown = set(entry) - {"name", "what", "problem", "passes", "neighbour"}
    if unknown:
        raise ValueError(f"case '{entry.get('name')}': unknown keys {sorted(unknown)}")
    passes = tuple(entry.get("passes", CONV1D_PASSES))
    for pass_name in passes:
        if pass_name not in PASSES:
            raise ValueError(f"case '{entry['name']}': pass '{pass_name}' is none of {PASSES}")
    return Case(entry["name"], entry["what"], Problem.parse(entry["problem"]), passes, entry.get("neighbour"))


def select(cases: Iterable[Case], pattern: str | None) -> list[Case]:
    """Cases whose name contains the regular expression; a neighbour stays with the case that is compared with it."""
    cases = list(cases)
    if pattern is None:
        return cases
    chosen = [case for case in cases if re.search(pattern, case.name)]
    wanted = {case.name for case in chosen} | {case.neighbour for case in chosen}
    return [case for case in cases if case.name in wanted]


def problems(case: Case, passes: Sequence[str], dtypes: Sequence[str], precisions: Sequence[str]) -> list[Problem]:
    """The case in each wanted pass and dtype; precisions other than fp32 apply to f32 only."""
    found = []
    for pass_name in passes:
        if pass_name not in case.passes:
            continue
        for dtype in dtypes:
            for precision in precisions if dtype == "f32" else ["fp32"]:
                found.append(case.problem.in_pass(pass_name).replace(dtype=dtype, precision=precision))
    return found
