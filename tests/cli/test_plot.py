# SPDX-License-Identifier: MIT
"""``fastformers plot``: the picture that a file holds, under the name asked for, and statuses for the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import exit_status

pytest.importorskip("matplotlib", reason="pictures need the plots extra")

from fastformers.cli.exit_codes import ExitCode


def spread(median: float) -> dict[str, float]:
    return {"median": median, "low": median, "high": median, "count": 3}


LADDER: dict[str, Any] = {
    "schema": "fastformers-ladder/1",
    "title": "Trial",
    "metric": "accuracy",
    "rows": [
        {"name": "one", "score": 80.0, "queries_per_second": spread(1.0), "total_speedup": spread(1.0)},
        {"name": "two", "score": 79.0, "queries_per_second": spread(9.0), "total_speedup": spread(9.0)},
    ],
}
GRID: dict[str, Any] = {
    "schema": "fastformers-grid/1",
    "task": "rte",
    "metric": "accuracy",
    "points": [{"heads": 4, "ffn": 600, "layers": 3, "milliseconds": 2.0, "score": 60.0}],
}
SEARCH: dict[str, Any] = {
    "schema": "fastformers-search/1",
    "task": "rte",
    "metric": "accuracy",
    "machine": "A processor, avx2",
    "points": [
        {
            "candidate": {"depth": 3, "heads": 1.0, "ffn": share, "int8": int8},
            "heads": 4,
            "ffn": round(1200 * share),
            "milliseconds": 4.0 * share,
            "score": 60.0 + share,
        }
        for share in (1.0, 0.5)
        for int8 in (True, False)
    ],
}


def saved(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "result.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("content", [LADDER, GRID, SEARCH], ids=["ladder", "grid", "search"])
def test_a_picture_lies_beside_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: dict[str, Any]
) -> None:
    assert exit_status("plot", saved(tmp_path, content)) == ExitCode.OK
    assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")
    assert f"Saved in {tmp_path / 'result.png'}" in capsys.readouterr().out


def test_of_a_search_each_size_is_drawn_once_with_the_machine(tmp_path: Path) -> None:
    assert exit_status("plot", saved(tmp_path, SEARCH), "-o", tmp_path / "sizes.svg") == ExitCode.OK
    words = (tmp_path / "sizes.svg").read_text(encoding="utf-8")
    assert "2 sizes, 2.0 times between the slowest and the fastest" in words
    assert "A processor, avx2" in words


def test_the_kind_chooses_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path, LADDER)
    for kind in ("ladder", "tradeoff"):
        assert exit_status("plot", path, "--kind", kind, "-o", tmp_path / f"{kind}.svg") == ExitCode.OK
    assert exit_status("plot", path, "-o", tmp_path / "auto.svg") == ExitCode.OK
    bars, points, auto = ((tmp_path / f"{name}.svg").read_bytes() for name in ("ladder", "tradeoff", "auto"))
    assert bars != points == auto


@pytest.mark.parametrize(
    ("content", "options", "status", "message"),
    [
        ({"schema": "fastformers-explain/1"}, (), ExitCode.BAD_FILE, "pictures are drawn of"),
        (LADDER, ("--kind", "pie"), ExitCode.USAGE, "allowed: ladder, tradeoff"),
        (GRID, ("--kind", "ladder"), ExitCode.USAGE, "no picture of kind 'ladder'"),
        (LADDER, ("-o", "picture.pdf"), ExitCode.USAGE, ".png or .svg"),
        ({**SEARCH, "points": []}, (), ExitCode.BAD_FILE, "the search has no points"),
        ({**SEARCH, "points": [{"score": 60.0}]}, (), ExitCode.BAD_FILE, "point 1 has no candidate"),
        (
            {**SEARCH, "points": [{"candidate": {}}]},
            (),
            ExitCode.BAD_FILE,
            "point 1: heads is None, must be a finite number",
        ),
        ({**LADDER, "rows": [{"name": "one"}]}, (), ExitCode.BAD_FILE, "queries_per_second is absent"),
    ],
)
def test_what_cannot_be_drawn_is_explained(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: dict[str, Any],
    options: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    assert exit_status("plot", saved(tmp_path, content), *options) == status
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
