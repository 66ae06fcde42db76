# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The JSON line of one measurement: written, read back and checked. What is optional may be missing in older lines.

Times are milliseconds of one call, rates are 1e9 per second, ratios are PyTorch's time over ours.
"""

# No postponed annotations here: they are evaluated when a line is checked, on Python 3.9 too.
import json
import pathlib
import typing
from collections.abc import Iterable
from typing import Any, Optional, TypedDict

SCHEMA = 1


class DeviceInfo(TypedDict):
    """Where it ran."""

    kind: str  # "cpu" or "cuda"
    name: str  # as the processor names itself
    isa: str  # widest vector extension in use by PyTorch ("AVX2"), or "sm_90"
    threads: int
    huge_pages: str  # "as-it-comes" or "on"; always "as-it-comes" on cuda
    transparent_huge_pages: str  # the kernel's setting: "always", "madvise", "never" or "unknown"


class Versions(TypedDict):
    """What ran."""

    longconv: str
    torch: str
    python: str
    backend: str  # "oneDNN v3.12.0" or "cuDNN 9.19"
    driver: Optional[str]  # of the GPU


class Source(TypedDict):
    """The commit that was measured."""

    commit: Optional[str]
    dirty: Optional[bool]  # uncommitted changes in what is measured (sources and build files)


class Times(TypedDict):
    """One side's samples."""

    median: float
    min: float
    q1: float
    q3: float
    host: float  # median time until the call returned; on the CPU the median itself


class Ratio(TypedDict):
    """Paired per-round ratios: their median and its 95 % interval."""

    median: float
    low: float
    high: float


class RooflineNumbers(TypedDict):
    """What the machine was measured to do in this run, and the floor that follows for this problem."""

    copy_gbps: float
    gemm_gflops: Optional[float]
    bound: str
    floor_ms: float
    ours_fraction: float
    pytorch_fraction: float


class Rounds(TypedDict):
    """Counts; `dropped` holds the indices of the rounds that the statistics leave out."""

    total: int
    dropped: list[int]
    disturbed: bool


class Samples(TypedDict):
    """Every round's times, the dropped ones included."""

    ours_ms: list[float]
    pytorch_ms: list[float]


class ConfigTime(TypedDict):
    """One kernel and config that could have been chosen."""

    config: str
    expected_ms: float
    ms: float


class PlannerNumbers(TypedDict):
    """The planner's choice, which comes first among `configs`, against the best of them."""

    chosen_over_best: float
    best: str
    configs: list[ConfigTime]


class Numbers(TypedDict):
    """What was measured."""

    ours_ms: Times
    pytorch_ms: Times
    ratio: Ratio
    gflops: float
    gbps: float
    roofline: RooflineNumbers
    extra_bytes_ours: Optional[int]
    extra_bytes_pytorch: Optional[int]
    relative_difference: float
    error_ours: Optional[float]  # relative RMS error against float64 on slices
    error_pytorch: Optional[float]
    copy_ms: Optional[float]  # CUDA: a device copy that moves the compulsory bytes
    first_call_ms: Optional[float]  # CUDA: of a shape that nothing was compiled for
    planner: Optional[PlannerNumbers]
    rounds: Rounds
    samples: Samples


class Record(TypedDict):
    """One line. Exactly one of `numbers` and `error` is present."""

    schema: int
    date: str
    case: str
    what: str
    cases: str  # the list that the case is from
    neighbour: Optional[str]
    problem: str
    clock: str  # "wall", "cpu" (process CPU time, one thread), "cuda-events" or "host" (until the call returned)
    device: DeviceInfo
    versions: Versions
    source: Source
    plan: Optional[str]
    forced_kernel: Optional[str]  # instead of the planner's choice
    replay: str
    numbers: Optional[Numbers]
    error: Optional[str]


def write(path: pathlib.Path, records: Iterable[Record]) -> None:
    """Replaces the file by one line for each record."""
    text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read(paths: Iterable[pathlib.Path]) -> list[Record]:
    """Every record of the files, in order. Raises ValueError naming file, line and field if one is malformed."""
    records = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                try:
                    records.append(validate(json.loads(line)))
                except ValueError as error:
                    raise ValueError(f"{path.name}, line {number}: {error}") from error
    return records


def validate(document: Any) -> Record:
    """Returns the document as a record. Raises ValueError naming a field that is missing, unknown or mistyped."""
    _check(document, Record, "record")
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema {document['schema']}, expected {SCHEMA}")
    if (document["numbers"] is None) == (document["error"] is None):
        raise ValueError("expected exactly one of 'numbers' and 'error'")
    return typing.cast(Record, document)


def _check(value: Any, expected: Any, where: str) -> None:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is typing.Union:
        if value is not None:
            _check(value, next(option for option in arguments if option is not type(None)), where)
    elif origin is list:
        _check_type(value, list, where)
        for index, item in enumerate(value):
            _check(item, arguments[0], f"{where}[{index}]")
    elif hasattr(expected, "__total__"):  # a TypedDict
        _check_type(value, dict, where)
        fields = typing.get_type_hints(expected)
        for name, field in fields.items():
            if typing.get_origin(field) is typing.Union:
                value.setdefault(name, None)
        for name in sorted(set(fields) ^ set(value)):
            raise ValueError(f"{where}: {'missing' if name in fields else 'unknown'} field '{name}'")
        for name, field in fields.items():
            _check(value[name], field, f"{where}.{name}")
    elif expected is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{where}: expected a number, got {value!r}")
    else:
        _check_type(value, expected, where)


def _check_type(value: Any, expected: type, where: str) -> None:
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise ValueError(f"{where}: expected {expected.__name__}, got {value!r}")
