# SPDX-License-Identifier: MIT
"""The picture of a recipe: every stage is named, and no name covers another one, however near the points are."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="pictures need the extra train")

from fastformers.measuring import Spread
from fastformers.recipes.recipe_report import RecipeReport, RecipeRow, draw

KINDS = ("train", "distill", "prune", "distill", "compile", "quantize")


def exact(value: float) -> Spread:
    return Spread(value, value, value, 3)


def row(number: int, score: float, speedup: float) -> RecipeRow:
    return RecipeRow(
        name=f"stage number {number}",
        kind=KINDS[number],
        inputs={},
        score=score,
        drop=80.0 - score,
        metrics={},
        changed=None,
        milliseconds=exact(1.0),
        speedup=exact(speedup),
        megabytes=1.0,
        seconds=1.0,
        cached=False,
        scored=10,
    )


@pytest.mark.parametrize(
    ("scores", "speedups"),
    [
        ((80.0,) * 6, (1.0, 1.05, 1.5, 1.52, 9.5, 2.0)),
        ((80.0, 79.9, 79.8, 80.1, 79.9, 80.0), (1.0, 1.01, 1.02, 1.03, 1.04, 1.05)),
        ((80.0, 49.2, 46.2, 46.3, 46.6), (1.0, 1.66, 1.68, 1.79, 42.5)),
        ((80.0,), (1.0,)),
    ],
)
def test_names_of_stages_do_not_cover_each_other(
    scores: tuple[float, ...], speedups: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation, Text

    drawn: list[Any] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **given: (drawn.append(self), save(self, *args, **given))
    )
    rows = tuple(row(number, *pair) for number, pair in enumerate(zip(scores, speedups, strict=True)))
    draw(
        RecipeReport(
            task="rte",
            metric="accuracy",
            examples=(10, 10),
            padded=(exact(10.0), exact(0.5)),
            rows=rows,
            recipe="r",
            seed=1,
            machine="CPU",
        ),
        tmp_path / "report.png",
    )
    (figure,) = drawn
    renderer = figure.canvas.get_renderer()
    labels = figure.findobj(Annotation)
    assert sorted(label.get_text().split("\n")[0] for label in labels) == [each.name for each in rows]
    boxes = [Text.get_window_extent(label, renderer) for label in labels]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    lines = [label.arrow_patch.get_path() for label in labels if label.arrow_patch is not None]
    assert not any(line.intersects_bbox(box, filled=False) for line in lines for box in boxes)
    assert "-0.0" not in figure.axes[0].get_title(loc="left")
