# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Settings shared by all Python tests."""

from __future__ import annotations

import os

import pytest
import torch

try:
    from hypothesis import HealthCheck, settings

    _common = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": False}
    # The default draws the same cases every time; "explore" draws new ones, ten times as many.
    settings.register_profile("ci", derandomize=True, database=None, **_common)
    settings.register_profile("explore", max_examples=1000, **_common)
    settings.load_profile(os.environ.get("LONGCONV_HYPOTHESIS_PROFILE", "ci"))
except ImportError:  # the smoke test of an old PyTorch has no hypothesis
    pass


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--replay", default=None, help="a failing case, as the failure printed it")
    parser.addoption("--shard", default=None, metavar="I/N", help="every N-th test, from the I-th (0 to N-1) on")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cuda: needs a GPU; with LONGCONV_TEST_DEVICE=cpu rehearsed on the CPU")
    config.addinivalue_line("markers", "real_gpu: of these, what the CPU cannot rehearse")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--shard"):
        index, count = (int(number) for number in config.getoption("--shard").split("/"))
        items[:] = items[index::count]
    if torch.cuda.is_available():
        return
    rehearsal = os.environ.get("LONGCONV_TEST_DEVICE") == "cpu"
    skip = pytest.mark.skip(reason="needs a CUDA GPU")
    for item in items:
        if item.get_closest_marker("cuda") and (not rehearsal or item.get_closest_marker("real_gpu")):
            item.add_marker(skip)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """After an illegal access nothing more can be learnt from this process: every later call fails as well."""
    yield
    if call.excinfo is not None and item.get_closest_marker("cuda") and torch.cuda.is_available():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            item.session.shouldstop = f"the GPU's context is lost since {item.nodeid}: {str(error).splitlines()[0]}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """A kernel that is forced on all tests refuses some problems, and says why: that is a test skipped, not failed."""
    outcome = yield
    error = outcome.excinfo[1] if outcome.excinfo else None
    forced = os.environ.get("LONGCONV_CUDA_KERNEL")
    if forced and isinstance(error, NotImplementedError) and f"\n  {forced}: " in str(error):
        outcome.force_exception(pytest.skip.Exception(str(error).split("\n  ", 1)[1]))


@pytest.fixture(autouse=True)
def _same_state_for_every_test():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
