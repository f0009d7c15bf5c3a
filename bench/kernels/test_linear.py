# SPDX-License-Identifier: MIT
"""Times ``kernels.linear`` at the shapes of ``bench/shapes.csv`` on every instruction set this CPU has.

``python -m pytest bench/kernels --benchmark-only`` times a quick subset (one shape per group, three row
counts), ``--full`` all. Each entry of the JSON says GOP/s and the percentage of the ceiling measured right
before it, so that ``bench/compare.py`` can tell a slower kernel from a slower machine. One thread; for the
comparison with other libraries see ``bench.kernels.run``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bench.kernels.cases import ROWS, Shape, cosine, load_shapes, make_case
from fastformers import kernels

QUICK_SHAPES = {(768, 768), (1536, 384), (312, 312), (600, 312)}
QUICK_ROWS = {1, 16, 128}
# The plain loop of the reference path takes seconds where the others take a millisecond.
MOST_REFERENCE_OPERATIONS = 5_000_000
LEAST_COSINE = 0.9995


def cells() -> Iterator[Any]:
    """Yields (isa, shape, rows), those outside the quick subset marked."""
    for isa in kernels.available_isas():
        for shape in load_shapes():
            for rows in ROWS:
                if isa == "reference" and 2 * rows * shape.columns * shape.depth > MOST_REFERENCE_OPERATIONS:
                    continue
                quick = (shape.columns, shape.depth) in QUICK_SHAPES and rows in QUICK_ROWS
                name = f"{isa}-{shape.group}-N{shape.columns}-K{shape.depth}-M{rows}"
                yield pytest.param(isa, shape, rows, id=name, marks=() if quick else pytest.mark.full_table)


@pytest.mark.parametrize(("isa", "shape", "rows"), list(cells()))
def test_linear_call_from_python(benchmark: Any, isa: str, shape: Shape, rows: int) -> None:
    case = make_case(shape, rows)
    with kernels.use_isa(isa):
        weight = kernels.pack(case.weight)
        ceiling = None if isa == "reference" else kernels.ceiling_gops(isa)
        benchmark.group = f"{isa} {shape}"

        def call() -> object:
            return kernels.linear(case.x, weight, case.bias, activation="relu", threads=1)

        out = benchmark(call)
    assert cosine(np.asarray(out), case.expected) > LEAST_COSINE
    if benchmark.stats is not None:  # None with --benchmark-disable
        gops = case.operations / benchmark.stats.stats.median / 1e9
        benchmark.extra_info["gops"] = gops
        if ceiling is not None:
            benchmark.extra_info.update(ceiling_gops=ceiling, percent_of_ceiling=100 * gops / ceiling)
