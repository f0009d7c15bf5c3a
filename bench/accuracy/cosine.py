# SPDX-License-Identifier: MIT
"""COPA without training: the choice whose sentence embedding lies nearer to the premise's, in float32 and in INT8.

usage: python -m bench.accuracy.cosine MODEL ... --data SUPERGLUE

Says what an encoder knows of the task before it is trained, beside what training with the task's template gives.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

import fastformers as ff
from bench.harness.markdown import table
from fastformers.files.rows import json_rows
from fastformers.recipes.compile_folder import compile_folder
from fastformers.tasks.superglue import copa_stem

_FORMS = {"float32": ff.CompileConfig(int8=None), "INT8": ff.CompileConfig()}


def chosen(engine: ff.Engine, path: Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns which choice is the nearer one, and which is right: true for the second."""
    rows = list(json_rows(path))
    premises = [copa_stem(row, row.text("question")) for row in rows]
    first, second = (engine.embed([row.text(name) for row in rows]) for name in ("choice1", "choice2"))
    stems = engine.embed(premises)
    nearer = (stems * second).sum(axis=1) > (stems * first).sum(axis=1)
    return nearer, np.array([row.number("label") == 1 for row in rows])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for model in options.models:
        for form, config in _FORMS.items():
            with TemporaryDirectory() as folder:
                compile_folder(model, Path(folder) / "compiled", config)
                with ff.Engine.from_pretrained(Path(folder) / "compiled") as engine:
                    found = [
                        chosen(engine, options.data / "COPA" / f"{part}.jsonl") for part in ("train", "val")
                    ]
            shares = [f"{100 * (nearer == right).mean():.1f}" for nearer, right in found]
            rows.append([f"{model.name}, {form}", *shares])
    print(table(["nearer choice is right, %", "train (400)", "val (100)"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
