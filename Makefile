# From a clone to a running fastformers. Needs only python3 (>= 3.10, with venv) and a C++17 compiler (g++ >= 11 or
# clang >= 14); everything else comes from pip into .venv, at the versions of constraints.txt.
#
# PyTorch is installed first and at one version, so that nothing later can pull in a build for another device.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV ?= .venv
FUZZ_CASES ?= 5000000
FUZZ_SEED ?= $(shell date +%s)
FUZZ_ARTEFACTS ?= 100000
PYTEST_ARGS ?=
SOAK_ARGS ?=
BENCH_ARGS ?=
NOW := $(shell date +%Y%m%d-%H%M%S)

BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Build requirements live in the environment and the build folder is kept: a second install compiles what changed.
INSTALL := $(PIP) install -q -c constraints.txt --no-build-isolation -Cbuild-dir='build/make-{wheel_tag}'
CXX_FILES = $(shell find csrc tests/cpp -name '*.h' -o -name '*.cc')
PACKAGE_FILES := pyproject.toml CMakeLists.txt $(shell find csrc python -type f \
	-not -path '*/__pycache__/*' -not -name '*.so')

.PHONY: help demo test lint format types bench bench-kernels bench-table bench-gpu fuzz fuzz-artefacts build-fuzz soak wheel clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.12 chooses the interpreter; PYTEST_ARGS='-k name' goes to pytest."

demo: $(STAMPS)/demo ## install, then train a classifier and make it many times cheaper, measured here (the start)
	$(BIN)/fastformers demo

test: $(STAMPS)/test ## install, then run all tests
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMPS)/dev ## check style of Python and C++
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

format: $(STAMPS)/dev ## rewrite Python and C++ in the project's style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

types: $(STAMPS)/dev $(STAMPS)/test ## check types, and the stub against the built extension
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy.stubtest fastformers._core --mypy-config-file tests/meta/stubtest.ini \
		--allowlist tests/meta/stubtest_allowlist.txt

bench: $(STAMPS)/bench ## every benchmark in under 40 minutes: one file in bench/results/, and the tables of the READMEs
	$(BIN)/python -m bench.run --resume --write $(BENCH_ARGS)

bench-kernels: $(STAMPS)/bench ## time our kernels; JSON under bench/results/, for bench/compare.py
	mkdir -p bench/results
	$(BIN)/python -m pytest bench/kernels --benchmark-only \
		--benchmark-json=bench/results/kernels-$(NOW).json $(PYTEST_ARGS)

bench-table: $(STAMPS)/bench ## time our kernels against other libraries, in one run; takes long
	mkdir -p bench/results
	$(BIN)/python -m bench.kernels.run --threads 1 2 --json bench/results/table-$(NOW).json
	$(BIN)/python -m bench.kernels.report bench/results/table-$(NOW).json

bench-gpu: $(STAMPS)/test ## measure half precision and the ladder on a GPU, 8 minutes; needs a CUDA build of torch
	$(BIN)/python -m bench.gpu.run

fuzz: build-fuzz ## random kernel cases under ASan and UBSan on every instruction set; FUZZ_CASES of them
	build/fuzz/tests/cpp/fuzz_kernels --isa all --cases $(FUZZ_CASES) --seed $(FUZZ_SEED)

fuzz-artefacts: $(STAMPS)/test ## FUZZ_ARTEFACTS damaged artefacts, each refused in words or loaded, none a crash
	FASTFORMERS_FUZZ_ARTEFACTS=$(FUZZ_ARTEFACTS) FASTFORMERS_FUZZ_SEED=$(FUZZ_SEED) \
		$(BIN)/python -m pytest -q tests/runtime/artefact/test_artefact_fuzz.py

build-fuzz: $(STAMPS)/torch # the C++ tests with sanitizers, in build/fuzz
	$(BIN)/cmake -S . -B build/fuzz -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
		-DCMAKE_BUILD_TYPE=RelWithDebInfo -DFASTFORMERS_BUILD_TESTS=ON -DFASTFORMERS_BUILD_EXTENSION=OFF \
		-DFASTFORMERS_SANITIZE=ON
	$(BIN)/cmake --build build/fuzz

soak: $(STAMPS)/test ## a million requests, 200 load and close cycles, idle CPU; SOAK_ARGS='--requests 20000' is shorter
	$(BIN)/python -m bench.soak.run $(SOAK_ARGS)

wheel: $(STAMPS)/dev ## build dist/*.whl and show which system libraries it needs
	rm -rf dist
	$(PIP) wheel -q . --no-deps --no-build-isolation -w dist -Cbuild-dir='build/make-{wheel_tag}'
	$(BIN)/auditwheel show dist/*.whl

clean: ## remove the environment, builds and caches
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environment ------------------------------------------------------------------------------------------------------

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "fastformers needs Python >= 3.10; $(PYTHON) is $$($(PYTHON) --version): make PYTHON=..."; exit 1; }
	@command -v "$${CXX:-c++}" > /dev/null || command -v g++ > /dev/null || command -v clang++ > /dev/null || \
		{ echo "no C++ compiler found: install g++ >= 11 or clang >= 14, or set CXX"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(@D) && touch $@

# One torch, named here and nowhere else in this file: the version is the one of constraints.txt.
$(STAMPS)/torch: $(STAMPS)/venv constraints.txt
	@echo "Installing PyTorch and the build tools; the first time takes a minute or two."
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt cmake ninja pybind11 scikit-build-core
	@touch $@

$(STAMPS)/demo: $(STAMPS)/torch $(PACKAGE_FILES)
	@echo "Compiling and installing fastformers."
	$(INSTALL) '.[demo]'
	@touch $@

$(STAMPS)/test: $(STAMPS)/torch $(PACKAGE_FILES)
	@echo "Compiling and installing fastformers with what its tests need."
	$(INSTALL) '.[demo,test]'
	@touch $@

$(STAMPS)/bench: $(STAMPS)/torch $(PACKAGE_FILES)
	$(INSTALL) '.[demo,bench,test]'
	@touch $@

$(STAMPS)/dev: $(STAMPS)/torch pyproject.toml
	$(PIP) install -q -c constraints.txt auditwheel clang-format mypy ruff
	@touch $@
