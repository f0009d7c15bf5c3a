# SPDX-License-Identifier: MIT
"""The shapes of the table and the numbers of one cell: every contestant gets the same inputs and weights.

``bench/shapes.csv`` lists the weight matrices, ``ROWS`` the numbers of rows (tokens). Nothing else in the
project repeats either list.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROWS = (1, 8, 16, 32, 64, 128, 256, 512)
SHAPES_FILE = Path(__file__).resolve().parent.parent / "shapes.csv"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """One weight matrix: ``columns`` (N, out_features) x ``depth`` (K, in_features), and its family."""

    group: str
    columns: int
    depth: int

    def __str__(self) -> str:
        return f"{self.columns} x {self.depth}"


@dataclass(frozen=True)
class Case:
    """One cell of the table: ``relu(x @ weight.T + bias)`` with ``rows`` rows of x.

    Attributes:
        x: float32 [rows, depth].
        weight: float32 [columns, depth].
        bias: float32 [columns].
        expected: float32 [rows, columns], computed in float32.
    """

    shape: Shape
    rows: int
    x: Floats
    weight: Floats
    bias: Floats
    expected: Floats

    @property
    def operations(self) -> int:
        """Multiplications and additions of one call."""
        return 2 * self.rows * self.shape.columns * self.shape.depth


def load_shapes(groups: Sequence[str] | None = None, path: Path = SHAPES_FILE) -> list[Shape]:
    """Reads the shapes of the given groups (all without a choice), in the order of the file.

    Raises:
        ValueError: a group that the file does not have.
    """
    with path.open(newline="", encoding="utf-8") as file:
        shapes = [Shape(row["group"], int(row["N"]), int(row["K"])) for row in csv.DictReader(file)]
    known = list(dict.fromkeys(shape.group for shape in shapes))
    unknown = [group for group in groups or () if group not in known]
    if unknown:
        raise ValueError(f"unknown group {unknown[0]!r}: {path.name} has {', '.join(known)}")
    return [shape for shape in shapes if groups is None or shape.group in groups]


@lru_cache(maxsize=2)
def weights(shape: Shape) -> tuple[Floats, Floats]:
    """Returns weight [N, K] and bias [N]: normal, outputs of about 1, the same in every process."""
    generator = np.random.default_rng([shape.columns, shape.depth])
    weight = generator.standard_normal((shape.columns, shape.depth), dtype=np.float32) / np.sqrt(
        np.float32(shape.depth)
    )
    return weight, generator.standard_normal(shape.columns, dtype=np.float32) * np.float32(0.1)


def make_case(shape: Shape, rows: int) -> Case:
    """Makes the inputs of one cell, the same in every process."""
    weight, bias = weights(shape)
    x = np.random.default_rng(rows).standard_normal((rows, shape.depth), dtype=np.float32)
    return Case(shape, rows, x, weight, bias, np.maximum(x @ weight.T + bias, 0))


def cosine(left: Floats, right: Floats) -> float:
    """Cosine of the angle between two arrays taken as vectors, computed in float64."""
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
