# SPDX-License-Identifier: MIT
"""Importing the package is light and changes nothing; the public names are all there."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

import fastformers

IMPORT_BUDGET_SECONDS = 0.150
HEAVY_PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "matplotlib", "numpy", "typer", "rich")

# Runs in a fresh interpreter. Its own imports come first, so that only the package's cost is measured.
OBSERVER = """
import json, os, sys, threading, time, warnings
environment, filters = dict(os.environ), list(warnings.filters)
start = time.perf_counter()
import {module}
seconds = time.perf_counter() - start
threads = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("Threads:")))
print(json.dumps({{
    "seconds": seconds,
    "environment_changed": environment != dict(os.environ),
    "filters_changed": filters != list(warnings.filters),
    "modules": sorted(sys.modules),
    "threads": threads,
}}))
"""


def observe_import(module: str) -> dict[str, Any]:
    answer = subprocess.run(
        [sys.executable, "-c", OBSERVER.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    observed: dict[str, Any] = json.loads(answer.stdout)
    return observed


def test_import_takes_less_than_its_budget() -> None:
    fastest = min(observe_import("fastformers")["seconds"] for _ in range(5))
    assert fastest < IMPORT_BUDGET_SECONDS


def test_import_loads_no_heavy_package() -> None:
    assert set(HEAVY_PACKAGES).isdisjoint(observe_import("fastformers")["modules"])


def test_import_changes_no_environment_variable_and_no_warning_filter() -> None:
    observed = observe_import("fastformers")
    assert not observed["environment_changed"]
    assert not observed["filters_changed"]


def test_import_starts_no_thread() -> None:
    assert observe_import("fastformers")["threads"] == 1


def test_kernels_need_no_torch() -> None:
    observed = observe_import("fastformers.kernels")
    assert {"torch", "transformers", "onnx", "onnxruntime"}.isdisjoint(observed["modules"])
    assert not observed["environment_changed"]


def test_compiled_core_starts_no_thread_when_imported() -> None:
    with_numpy = observe_import("numpy")["threads"]  # its BLAS may start some
    assert observe_import("fastformers.kernels")["threads"] == with_numpy


@pytest.mark.parametrize("name", sorted(set(fastformers.__all__) - {"__version__"}))
def test_public_name_can_be_imported(name: str) -> None:
    pytest.importorskip("torch")
    assert getattr(fastformers, name) is not None
    assert name in dir(fastformers)


def test_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="quantise"):
        fastformers.quantise  # noqa: B018 - looking the name up is the test


def test_version_is_the_distributions() -> None:
    try:
        installed = version("fastformers-cpu")
    except PackageNotFoundError:
        pytest.skip("running from the source tree: no distribution is installed")
    assert installed == fastformers.__version__


def test_compiled_core_is_of_the_same_version() -> None:
    from fastformers import _core

    assert fastformers.__version__ == _core.VERSION
