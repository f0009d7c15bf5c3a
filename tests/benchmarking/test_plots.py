# SPDX-License-Identifier: MIT
"""Pictures: no text on text or on points however crowded, all rows shown, and clear words for what cannot be drawn."""

from __future__ import annotations

import copy
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="pictures need the plots extra")

from fastformers.benchmarking.plots import boxes
from fastformers.benchmarking.plots.boxes import Box, place_labels
from fastformers.benchmarking.plots.ladder import draw_ladder, ladder_figure
from fastformers.benchmarking.plots.style import balanced, plain_ticks, shade
from fastformers.benchmarking.plots.tradeoff import draw_tradeoff, tradeoff_figure
from fastformers.errors import ConfigError, FormatError

NAMES = (
    "PyTorch out of the box, padded to 512",
    "dynamic length",
    "distilled student, 4 layers x 312",
    "INT8 and fusion (compile)",
    "2 instances",
    "pruned to 9 heads, FFN 900",
    "pruned to 8 heads, FFN 600",
)
SPEEDS = (0.9, 4.5, 41.0, 190.0, 360.0, 480.0, 640.0)
SCORES = (74.0, 74.0, 74.1, 73.4, 73.4, 73.3, 72.8)


def spread(median: float) -> dict[str, float]:
    return {"median": median, "low": 0.97 * median, "high": 1.03 * median, "count": 5}


def ladder(
    scores: tuple[float, ...] | None = None,
    names: tuple[str, ...] = NAMES,
    speeds: tuple[float, ...] = SPEEDS,
) -> dict[str, Any]:
    return {
        "schema": "fastformers-ladder/1",
        "title": "BoolQ",
        "task": "boolq",
        "metric": "accuracy",
        "texts": 3270,
        "machine": {"cpu": {"model": "AMD EPYC", "physical_cores": 2, "active_isa": "avx2"}, "packages": {}},
        "price": {"name": "azure:F16s_v2", "usd_per_hour": 0.677, "date": "2020-11"},
        "rows": [
            {
                "name": name,
                "score": None if scores is None else scores[number],
                "queries_per_second": spread(speed),
                "total_speedup": spread(speed / speeds[0]) if number else spread(1.0),
                "usd_per_100m": 1e8 / speed / 3600 * 0.677,
                "extrapolated": number == 0,
                "noisy": number == 3,
            }
            for number, (name, speed) in enumerate(zip(names, speeds, strict=True))
        ],
    }


def grid(points: int = 30) -> dict[str, Any]:
    random = Random(0)
    return {
        "schema": "fastformers-grid/1",
        "task": "multirc",
        "metric": "F1a",
        "points": [
            {
                "heads": 2 * (number % 6 + 1),
                "ffn": 600 * (number // 6 + 1),
                "layers": 6,
                "milliseconds": 5 + random.random(),
                "score": 60 + random.random(),
            }
            for number in range(points)
        ],
    }


def drawn_texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def boxes_of_texts(figure: Any) -> list[tuple[str, Box]]:
    """All texts that are seen: labels, ticks, title, legend and small print."""
    from matplotlib.text import Text

    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    found = []
    for text in texts:
        extent = Text.get_window_extent(text, renderer)  # an annotation's own would include its leader line
        found.append((text.get_text(), Box(extent.x0, extent.y0, extent.x1, extent.y1)))
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    hidden = {
        label.get_text()
        for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if not low <= tick <= high
    }
    bottom, top = axes.get_ylim()
    hidden |= {
        label.get_text()
        for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        if not min(bottom, top) <= tick <= max(bottom, top)
    }
    return [(text, box) for text, box in found if text not in hidden]


def overlapping(figure: Any) -> list[tuple[str, str]]:
    boxes = boxes_of_texts(figure)
    return [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]


def outside(figure: Any) -> list[str]:
    width, height = figure.canvas.get_width_height()
    sheet = Box(0, 0, width, height)
    return [text for text, box in boxes_of_texts(figure) if not sheet.contains(box)]


CROWD = tuple(f"one of many settings, number {number}" for number in range(24))
CROWDED = ladder(
    tuple(73 + (number * 7 % 24) / 24 for number in range(24)),
    CROWD,
    tuple(100 + 5.0 * (number * 5 % 24) for number in range(24)),
)


@pytest.mark.parametrize(
    "figure",
    [
        pytest.param(lambda: ladder_figure(ladder()), id="bars"),
        pytest.param(lambda: ladder_figure(ladder(SCORES)), id="points"),
        pytest.param(lambda: ladder_figure(ladder((74.0,) * 7)), id="equal-scores"),
        pytest.param(lambda: ladder_figure(CROWDED), id="crowded-points"),
        pytest.param(lambda: ladder_figure(CROWDED, "bars"), id="many-bars"),
        pytest.param(lambda: ladder_figure(ladder(None, NAMES[:1], SPEEDS[:1])), id="one-bar"),
        pytest.param(lambda: tradeoff_figure(grid()), id="grid"),
        pytest.param(lambda: tradeoff_figure(grid(1)), id="one-point"),
    ],
)
def test_no_text_covers_another_or_leaves_the_sheet(figure: Any) -> None:
    drawn = figure()
    assert overlapping(drawn) == []
    assert outside(drawn) == []


def test_the_check_sees_overlapping_texts() -> None:
    figure = ladder_figure(ladder(SCORES))
    label = next(text for text, _ in boxes_of_texts(figure) if "2 instances" in text)
    for text in figure.findobj(lambda artist: getattr(artist, "get_text", str)() == label):
        figure.text(*figure.transFigure.inverted().transform(text.get_window_extent().p0), "covers it")
    assert (label, "covers it") in overlapping(figure)


@pytest.mark.parametrize("seed", range(5))
def test_labels_keep_off_each_other_and_off_all_points(seed: int) -> None:
    random = Random(seed)
    points = [(random.uniform(300, 700), random.uniform(300, 500)) for _ in range(25)]
    sizes = [(random.uniform(40, 120), random.uniform(15, 45)) for _ in points]
    bounds = Box(0, 0, 1200, 800)
    places = place_labels(points, sizes, bounds, marker=10, gap=4)
    assert places is not None
    boxes = [place.box for place in places]
    assert not [1 for one, other in combinations(boxes, 2) if one.overlaps(other)]
    assert not [1 for box in boxes for x, y in points if box.overlaps(Box.around(x, y, 10, 10))]
    assert all(bounds.contains(box) for box in boxes)


def test_labels_that_do_not_fit_are_not_squeezed_in() -> None:
    points = [(float(10 * x), 50.0) for x in range(10)]
    assert place_labels(points, [(60.0, 30.0)] * 10, Box(0, 0, 100, 100), marker=4, gap=2) is None


@pytest.mark.parametrize("count", [90, 130])
def test_a_crowd_is_drawn_in_bounded_work_and_says_when_its_points_have_no_names(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    look = boxes._best_place
    monkeypatch.setattr(boxes, "_best_place", lambda *given: asked.append(1) or look(*given))
    speeds = tuple(100 + 0.01 * number for number in range(count))
    names = tuple(f"distilled student, {number} layers x 312" for number in range(count))
    figure = ladder_figure(ladder(tuple(80 + 0.01 * (number % 7) for number in range(count)), names, speeds))
    assert len(asked) <= 5 * 120  # five heights of the sheet, at most so many places searched for on each
    named = len(figure.axes[0].texts) == count
    assert named == ("Points without names" not in figure.get_supxlabel())


def test_no_change_of_the_score_has_no_minus() -> None:
    figure = ladder_figure(ladder((74.0, *SCORES[1:-1], 73.98)))
    assert ", +0.0 points" in figure.axes[0].get_title(loc="left")


def test_a_label_keeps_off_a_line_where_that_is_near() -> None:
    line = [Box.around(50, y, 8, 8) for y in range(0, 101, 8)]
    (place,) = (
        place_labels([(50.0, 50.0)], [(30.0, 10.0)], Box(0, 0, 100, 100), marker=8, gap=2, lines=line) or ()
    )
    assert not any(place.box.overlaps(box) for box in line)


def test_every_row_is_named_and_the_baseline_is_marked_as_extrapolated() -> None:
    for figure, mark in ((ladder_figure(ladder()), "Hatched"), (ladder_figure(ladder(SCORES)), "Hollow")):
        texts = " ".join(" ".join(drawn_texts(figure)).split())
        assert [name for name in NAMES if name not in texts] == []
        assert f"{mark}: measured on a random sample" in texts
        assert "spread over 10 %" in texts
        assert "3,270 texts; AMD EPYC, 2 cores" in texts


def test_the_claim_is_that_of_the_fastest_row() -> None:
    (title,) = [text for text in drawn_texts(ladder_figure(ladder(SCORES))) if text.startswith("BoolQ:")]
    assert "711 times the speed" in " ".join(title.split())
    assert "1.2 points" in title


@pytest.mark.parametrize("row", [0, -1])
def test_nothing_is_claimed_of_a_noisy_first_or_fastest_row(row: int) -> None:
    report = ladder(SCORES)
    report["rows"][row]["noisy"] = True
    texts = drawn_texts(ladder_figure(report))
    assert not any("times the speed" in text for text in texts)
    assert any("not quiet" in text and text.startswith("BoolQ:") for text in texts)


def test_axes_have_units() -> None:
    for figure, across, up in (
        (ladder_figure(ladder(SCORES)), "queries per second", "accuracy (of 100)"),
        (ladder_figure(ladder()), "times as fast as", ""),
        (tradeoff_figure(grid()), "in ms", "F1a (of 100)"),
    ):
        (axes,) = figure.axes
        assert across in axes.get_xlabel()
        assert up in axes.get_ylabel()


def test_costs_beside_bars_name_their_price() -> None:
    texts = " ".join(drawn_texts(ladder_figure(ladder())))
    assert "29 USD" in texts
    assert "0.677 an hour (azure:F16s_v2)" in texts


def test_points_differ_in_shape_and_lines_in_dashes() -> None:
    (axes,) = tradeoff_figure(grid()).axes
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 1]
    assert len({line.get_marker() for line in lines}) == len(lines) == 6
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in lines}) == len(lines)


def test_a_line_joins_only_rows_that_are_faster_than_all_before() -> None:
    beside = ladder((*SCORES, 73.9), (*NAMES, "quantize_ in PyTorch"), (*SPEEDS, 70.0))
    joined = ladder_figure(beside).axes[0].get_lines()[0]
    assert list(joined.get_xdata()) == list(SPEEDS)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_pictures_are_saved_and_the_same_bytes_each_time(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    draw_ladder(ladder(SCORES), first)
    draw_ladder(ladder(SCORES), second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    draw_tradeoff(grid(6), second)
    assert first.read_bytes() != second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([first.name, second.name])


@pytest.mark.parametrize("name", ["ladder.pdf", "ladder", "absent/ladder.png"])
def test_a_path_that_cannot_be_a_picture_is_refused_before_drawing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        draw_ladder({}, tmp_path / name)


def without(field: str, value: Any = None) -> dict[str, Any]:
    broken = copy.deepcopy(ladder(SCORES))
    broken["rows"][1][field] = value
    return broken


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"schema": "fastformers-demo/3"}, "schema"),
        ({"schema": "fastformers-ladder/1", "rows": []}, "no rows"),
        (without("queries_per_second"), r"row 2 \(dynamic length\): queries_per_second is absent"),
        (without("total_speedup", {"median": -1}), r"total_speedup.median is -1, must be a number above 0"),
        (without("score", float("nan")), "score is nan"),
        (without("score", "high"), "score is 'high'"),
        (without("name", 3), "row 2 has no name"),
    ],
)
def test_a_damaged_ladder_is_explained(report: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        ladder_figure(report)


def test_points_without_scores_are_refused() -> None:
    with pytest.raises(FormatError, match="'bars'"):
        ladder_figure(ladder(), "points")


@pytest.mark.parametrize(
    ("field", "value"),
    [("heads", 0), ("ffn", None), ("milliseconds", 0.0), ("score", float("inf")), ("layers", True)],
)
def test_a_damaged_grid_is_explained(field: str, value: Any) -> None:
    broken = grid(2)
    broken["points"][1][field] = value
    with pytest.raises(FormatError, match=f"point 2: {field} is"):
        tradeoff_figure(broken)


def test_shades_grow_darker() -> None:
    light = [sum(int(shade(number, 9)[i : i + 2], 16) for i in (1, 3, 5)) for number in range(9)]
    assert light == sorted(light, reverse=True)
    assert len(set(light)) == 9


def test_ticks_are_round_and_written_out() -> None:
    assert plain_ticks(0.5, 25)[1] == ["0.5", "1", "2", "5", "10", "20"]
    assert plain_ticks(1, 5000)[1] == ["1", "10", "100", "1,000"]
    assert plain_ticks(4.1, 9)[1] == ["5", "6", "8"]


@pytest.mark.parametrize("low", [1.0, 1.9, 2.2, 4.1, 7.3, 22.0])
def test_a_narrow_axis_has_ticks_too(low: float) -> None:
    ticks, _ = plain_ticks(low / 1.15, low * 1.15)  # the axis of a single time
    assert 2 <= len(ticks) <= 8


def test_names_are_no_formulas(tmp_path: Path) -> None:
    report = ladder(SCORES)
    report["rows"][1]["name"] = r"$\nothing$"
    for form in ("points", "bars"):
        draw_ladder(report, tmp_path / "ladder.svg", form)


def test_a_machine_or_price_of_another_kind_is_left_out() -> None:
    report = ladder()
    report |= {"machine": 5, "price": {"name": "paid by the day"}}
    report["rows"][0]["usd_per_100m"] = 3.0
    assert "USD: of 100 million queries." in "".join(drawn_texts(ladder_figure(report, "bars")))


def test_names_are_broken_into_lines_of_like_length() -> None:
    assert balanced("pruned to 9 heads, FFN 900", 24) == "pruned to 9\nheads, FFN 900"
    assert balanced("short", 24) == "short"
    assert balanced("a_name_without_any_place_to_break_it", 10).count("\n") == 3
