# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
# Every target sets up what it needs by itself; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PYTHON_SOURCES := python tests tools bench examples
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
FUZZ_SECONDS ?= 60
PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(JOBS)
export CTEST_PARALLEL_LEVEL ?= $(JOBS)
export PYTHONNOUSERSITE := 1

# $(call cmake_build,folder,options,build arguments): configures (quick when nothing changed), builds what changed.
define cmake_build
	@cmake -S . -B $(1) -G Ninja --log-level=WARNING -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python $(2) >/dev/null
	@cmake --build $(1) $(3)
endef

.PHONY: help
help: ## this list
	@echo "longconv: 1-D convolution over long signals"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo; echo "  JOBS=$(JOBS) compilers at once (set JOBS=... to change)"

# --- For everybody ---------------------------------------------------------------------------------------------------

.PHONY: demo
demo: build ## the headline model beside torch.nn.Conv1d, and a picture of a recording (FULL=1, WAV=path)
	@tools/bootstrap demo
	@$(BIN)/longconv demo $(if $(filter-out 0,$(FULL)),--full) $(if $(WAV),--wav "$(WAV)")

.PHONY: bench
bench: build ## the judged shapes, ours and PyTorch's interleaved (BENCH_ARGS="--help" for more)
	@$(BIN)/longconv bench --json build/bench.jsonl $(BENCH_ARGS)

.PHONY: test
test: report-start format-check lint test-cpp test-kernels test-python test-wheel test-oldest-torch ## format, lint, C++ and Python tests, CUDA kernels compiled, installed wheel, oldest PyTorch
	@tools/report print

.PHONY: report-start
report-start:
	@tools/report start

# --- Build -----------------------------------------------------------------------------------------------------------

.PHONY: setup
setup:
	@tools/bootstrap build

.PHONY: build
build: setup ## compile the library and the extension into python/longconv
	$(call cmake_build,build/dev,-DLONGCONV_TORCH=ON,--target longconv_torch)
	@cmake --install build/dev --component python --prefix python >/dev/null

# --- Tests -----------------------------------------------------------------------------------------------------------

.PHONY: test-cpp
test-cpp: setup ## C++ tests and the C++ example
	@tools/bootstrap test
	$(call cmake_build,build/dev,-DLONGCONV_TORCH=ON -DLONGCONV_TESTS=ON -DLONGCONV_EXAMPLES=ON,)
	@tools/report run "C++ tests" ctest --test-dir build/dev --output-on-failure

.PHONY: test-kernels
test-kernels: test-cpp build ## compiles every CUDA kernel for every architecture, with the oldest and the newest NVRTC (no GPU)
	@tools/report run "CUDA kernels compiled" tools/test-kernels build/dev

.PHONY: gpu-test
gpu-test: ## all that needs a GPU, with PYTHON=python3's own PyTorch: no network, no pip (GPU_TEST_ARGS="--help")
	@tools/gpu-test --python $(PYTHON) $(GPU_TEST_ARGS)

.PHONY: test-python
test-python: build ## Python tests (PYTEST_ARGS="-k name")
	@tools/bootstrap demo
	@tools/report run "Python tests" $(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: test-wheel
test-wheel: setup ## installs with pip into a fresh environment and smoke-tests that
	@tools/report run "installed wheel" tools/test-wheel

.PHONY: test-oldest-torch
test-oldest-torch: setup ## compiles and tests against Debian's PyTorch 1.13
	@tools/report run "oldest PyTorch" tools/test-oldest-torch

.PHONY: sanitize
sanitize: setup ## C++ tests under AddressSanitizer + UndefinedBehaviorSanitizer, then under ThreadSanitizer
	@tools/bootstrap test
	@tools/sanitize address,undefined
	@tools/sanitize thread

.PHONY: fuzz
fuzz: setup ## hostile problems from libFuzzer, for FUZZ_SECONDS=60
	@tools/bootstrap fuzz
	@tools/fuzz $(FUZZ_SECONDS)

# --- Style -----------------------------------------------------------------------------------------------------------

.PHONY: format
format: setup ## rewrite the sources with clang-format and ruff
	@tools/format

.PHONY: format-check
format-check: setup ## fail if `make format` would change something
	@tools/format --check

.PHONY: lint
lint: setup ## ruff and mypy
	@$(BIN)/ruff check $(PYTHON_SOURCES)
	@$(BIN)/mypy

# --- Generated files -------------------------------------------------------------------------------------------------

.PHONY: examples
examples: build ## write examples/kernelbench_*.py anew (after every change to a kernel or a launcher)
	@$(BIN)/longconv eject --problem "fprop n64 c64->128 l524280 k3 s3 d4" -o examples/kernelbench_76.py
	@$(BIN)/longconv eject --problem "fprop n32 c64->128 l131072 k3" -o examples/kernelbench_67.py

.PHONY: clean
clean: ## remove build folders and caches (.venv stays)
	@rm -rf build dist demo_output .pytest_cache .mypy_cache .ruff_cache .hypothesis python/longconv/_C.so
	@find python tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +
