# SPDX-License-Identifier: MIT
"""A ladder of small models: its rows, its files, its score, and going on after an interruption."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ladder_models import MOST_POSITIONS, MOST_TOKENS, save_span_task
from tiny_models import save_checkpoint, word_pieces

import fastformers as ff
from fastformers import kernels
from fastformers.benchmarking.energy import meter
from fastformers.benchmarking.energy.reading import UnavailableError
from fastformers.benchmarking.ladder.html import html_text
from fastformers.benchmarking.ladder.report import LadderReport
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.benchmarking.ladder.table import notes_of
from fastformers.benchmarking.plots.ladder_rows import read_rungs
from fastformers.benchmarking.saved_speeds import cost_report
from fastformers.errors import ConfigError, FormatError
from fastformers.recipes.model_folder import open_model, save_model
from fastformers.recipes.scoring import score_model
from fastformers.tasks import TaskFile, build_model, get_task, load_examples

Quick = Callable[..., LadderSettings]
CORES = kernels.default_threads()


def silent(_: str) -> None: ...


def climbed(
    folders: dict[str, Path], data: Path, out: Path, settings: LadderSettings, **options: Any
) -> LadderReport:
    return ff.ladder(
        out,
        teacher=folders["teacher"],
        students=[folders["student"]],
        pruned=[folders["pruned"]],
        data=data,
        settings=settings,
        **{"tell": silent, **options},
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ladder")


@pytest.fixture(scope="module")
def report(folders: dict[str, Path], data: Path, out: Path) -> LadderReport:
    settings = LadderSettings(rounds=3, threads=1, price=0.677, comparisons=True, baseline_sample=30)
    return climbed(folders, data, out, settings)


def test_rows_climb_from_padded_torch_to_pruned_instances(report: LadderReport) -> None:
    several = f"{CORES} instance{'s'[: CORES != 1]}"
    assert [(row.name, row.kind, row.against) for row in report.rows] == [
        ("PyTorch, padded", "torch", ""),
        ("dynamic length", "torch", "PyTorch, padded"),
        ("distilled student", "torch", "dynamic length"),
        ("INT8 engine", "engine", "distilled student"),
        (several, "instances", "INT8 engine"),
        ("pruned", "instances", several),
    ]


def test_rows_beside_the_ladder_name_the_row_they_are_compared_with(report: LadderReport) -> None:
    known = {row.name for row in (*report.rows, *report.comparisons)}
    assert {row.kind for row in report.comparisons} == {"torch", "engine", "processes"}
    assert len(report.comparisons) == 6
    assert all(row.against in known - {row.name} for row in report.comparisons)


def test_scores_are_those_of_the_models(
    report: LadderReport, folders: dict[str, Path], data: Path, out: Path
) -> None:
    opened = open_model(folders["teacher"])
    examples = load_examples(opened.required_task().task, data, "val")
    scores = {row.name: row.score for row in report.rows}
    assert scores["PyTorch, padded"] == scores["dynamic length"] == score_model(opened, examples).score
    assert scores["pruned"] == score_model(open_model(out / "models" / "pruned-int8"), examples).score
    assert report.metric == "accuracy"


def test_names_with_brackets_are_printed_as_they_are(report: LadderReport) -> None:
    first = replace(report.rows[0], name="mine [/v2] [old]")
    text = str(replace(report, title="all [of it]", rows=(first, *report.rows[1:])))
    assert "mine [/v2] [old]" in text
    assert "all [of it]" in text


def test_only_the_uncompressed_model_is_sampled_and_marked(report: LadderReport) -> None:
    marked = {row.name for row in (*report.rows, *report.comparisons) if row.extrapolated}
    assert marked == {"PyTorch, padded", "dynamic length", "teacher, INT8 engine"}
    first = report.rows[0]
    assert first.sample == 30
    assert first.total_interval is not None
    assert first.total_interval[0] < first.total_seconds < first.total_interval[1]
    assert "random sample" in str(report)
    assert report.rows[-1].sample == report.texts == 40


def test_totals_and_speeds_are_those_of_the_readings(report: LadderReport, out: Path) -> None:
    lines = [json.loads(line) for line in (out / "rounds.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    for row in report.rows:
        sets = [
            [line for line in lines if line["row"] == row.name and line["round"] // 3 == number]
            for number in range(1 + report.repeated)
        ]
        totals = [
            sum(line["seconds"] for line in own) / sum(line["queries"] for line in own) * report.texts
            for own in sets
        ]
        speeds = [sorted(line["queries"] / line["seconds"] for line in own)[1] for own in sets]
        assert row.total_seconds in totals
        # One division more here than there.
        assert any(row.queries_per_second.median == pytest.approx(speed, rel=1e-12) for speed in speeds)
        assert row.usd_per_100m == pytest.approx(1e8 / row.queries_per_second.median / 3600 * 0.677)


def test_every_file_is_written_and_read_by_the_other_commands(report: LadderReport, out: Path) -> None:
    saved = json.loads((out / "ladder.json").read_text(encoding="utf-8"))
    assert saved == json.loads(json.dumps(report.to_dict()))
    assert saved["schema"] == "fastformers-ladder/1"
    assert [rung.name for rung in read_rungs(saved)] == [row.name for row in report.rows]
    assert len(cost_report(saved).rows) == len(report.rows)
    with (out / "ladder.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [row.name for row in (*report.rows, *report.comparisons)]
    assert float(rows[1]["step_speedup"]) == report.rows[1].step_speedup.median
    markdown = (out / "ladder.md").read_text(encoding="utf-8")
    assert all(f"| {row.name}" in markdown for row in report.rows)
    assert (out / "ladder.png").stat().st_size > 10_000
    assert (out / "ladder.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_the_page_holds_everything_and_fetches_nothing(report: LadderReport, out: Path) -> None:
    page = (out / "ladder.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert all(f">{row.name}" in page for row in (*report.rows, *report.comparisons))
    assert page.count("<svg") == 2  # accuracy against speed, and bars
    assert not re.search(r"<script|<link|<img|@import|(?:src|href)=\"(?!#)", page)


def test_the_page_claims_nothing_of_a_machine_that_was_not_quiet_without_saying_so(
    report: LadderReport,
) -> None:
    def lead(noisy: bool) -> str:
        rows = [replace(row, noisy=False) for row in report.rows]
        page = html_text(replace(report, rows=(*rows[:-1], replace(rows[-1], noisy=noisy))), [])
        return next(line for line in page.splitlines() if "lead" in line and "<p" in line)

    assert "times as fast as" in lead(False)
    assert "not quiet" not in lead(False)
    assert "the machine was not quiet: do not rely on it" in lead(True)


def test_a_step_from_another_row_than_the_one_above_is_said_so(report: LadderReport) -> None:
    assert any(note.startswith("step: times as fast as the row above. in all:") for note in notes_of(report))
    last = report.rows[-1]
    rows = (*report.rows, replace(last, name="more pruned"))
    (note,) = [each for each in notes_of(replace(report, rows=rows)) if each.startswith("step:")]
    assert f"row above; more pruned: as {last.against}." in note


def test_names_of_folders_are_escaped_in_the_page(report: LadderReport) -> None:
    row = replace(report.rows[0], name="a<b & c")
    assert "a&lt;b &amp; c" in html_text(replace(report, rows=(row,)), [])


def test_a_finished_ladder_is_not_measured_again(
    report: LadderReport, folders: dict[str, Path], data: Path, out: Path
) -> None:
    told: list[str] = []
    settings = LadderSettings(rounds=3, threads=1, price=0.5, comparisons=True, baseline_sample=30)
    again = climbed(folders, data, out, settings, tell=told.append)
    assert [row.queries_per_second for row in again.rows] == [row.queries_per_second for row in report.rows]
    assert not any(line.startswith("round ") for line in told)
    assert again.rows[0].usd_per_100m == pytest.approx((report.rows[0].usd_per_100m or 0) * 0.5 / 0.677)


def test_an_interrupted_ladder_keeps_whole_rounds_and_goes_on(
    folders: dict[str, Path], data: Path, tmp_path: Path, quick: Quick
) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        climbed(folders, data, tmp_path, quick(), tell=interrupt)
    lines = (tmp_path / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    cut = lines[: 1 + 6 + 2]  # the header, a whole round, and a part of the second
    (tmp_path / "rounds.jsonl").write_text("\n".join([*cut, lines[9][:40]]), encoding="utf-8")
    told: list[str] = []
    report = climbed(folders, data, tmp_path, quick(), tell=told.append)
    assert "1 of 3 rounds are there from an earlier run" in told
    first = json.loads(lines[1])
    taken = (tmp_path / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(taken[1]) == first
    assert report.rows[0].queries_per_second.count == 3


def test_readings_of_another_ladder_are_not_mixed_in(
    folders: dict[str, Path], data: Path, tmp_path: Path, quick: Quick
) -> None:
    climbed(folders, data, tmp_path, quick(most_texts=8))
    before = (tmp_path / "rounds.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="another ladder"):
        climbed(folders, data, tmp_path, quick(most_texts=9))
    assert (tmp_path / "rounds.jsonl").read_bytes() == before
    report = climbed(folders, data, tmp_path, quick(most_texts=9), overwrite=True)
    assert "score: accuracy, of 100, on the 9 texts measured." in notes_of(report)
    assert (tmp_path / "rounds.jsonl").read_bytes() != before


def test_a_file_in_the_way_is_left_alone(
    folders: dict[str, Path], data: Path, tmp_path: Path, quick: Quick
) -> None:
    (tmp_path / "rounds.jsonl").write_text("mine\n", encoding="utf-8")
    with pytest.raises(FormatError, match="move it away"):
        climbed(folders, data, tmp_path, quick())
    assert (tmp_path / "rounds.jsonl").read_text(encoding="utf-8") == "mine\n"


def test_texts_with_marked_spans_climb_too(tmp_path: Path, quick: Quick) -> None:
    words = save_span_task(tmp_path)
    tokenizer, task = word_pieces(words), get_task("wic")
    folders = {}
    for name, layers in (("teacher", 2), ("student", 1)):
        checkpoint = save_checkpoint(tmp_path / f"{name}-base", tokenizer, num_hidden_layers=layers)
        folders[name] = tmp_path / name
        save_model(build_model(task, checkpoint, seed=0), folders[name], tokenizer, TaskFile(task, 24))
    report = ff.ladder(
        tmp_path / "out",
        teacher=folders["teacher"],
        students=[folders["student"]],
        data=tmp_path,
        settings=quick(comparisons=True),
        tell=silent,
    )
    assert report.task == "wic"
    assert all(row.score is not None for row in report.rows)
    assert {row.kind for row in report.comparisons} == {"engine", "processes"}


def test_larger_requests_are_measured_too(
    folders: dict[str, Path], data: Path, tmp_path: Path, quick: Quick
) -> None:
    report = climbed(folders, data, tmp_path, quick(batch_size=4, comparisons=True))
    assert "requests of 4 texts" in report.method
    assert "processes" not in {row.kind for row in report.comparisons}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs one of recipe"),
        ({"preset": "table3", "recipe": "x"}, "not recipe and preset together"),
        ({"preset": "table3", "students": ["x"]}, "go with teacher"),
        ({"preset": "table3"}, "needs data"),
        ({"preset": "table9", "data": "x"}, "no preset 'table9'"),
        ({"recipe": "nowhere", "data": "x"}, "nowhere is not a folder"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ff.ladder(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_first_row_fills_texts_up_to_the_length_asked_for(
    folders: dict[str, Path], data: Path, tmp_path: Path, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertModel

    lengths, forward = set(), BertModel.forward

    def noted(self: Any, input_ids: Any, **inputs: Any) -> Any:
        lengths.add(input_ids.shape[1])
        return forward(self, input_ids, **inputs)

    monkeypatch.setattr(BertModel, "forward", noted)
    first, *others = climbed(folders, data, tmp_path / "out", quick(padded_length=MOST_TOKENS + 8)).rows
    assert f"{MOST_TOKENS + 8} tokens" in first.meaning
    assert max(lengths) == MOST_TOKENS + 8
    assert first.score == others[0].score


@pytest.mark.parametrize("length", [MOST_TOKENS - 1, MOST_POSITIONS + 1])
def test_padded_length_that_cuts_texts_or_is_beyond_the_model_is_refused(
    folders: dict[str, Path], data: Path, tmp_path: Path, quick: Quick, length: int
) -> None:
    with pytest.raises(ConfigError, match=f"from {MOST_TOKENS}.* to {MOST_POSITIONS}"):
        climbed(folders, data, tmp_path / "out", quick(padded_length=length))


def test_an_energy_method_that_is_none_is_told_before_anything_is_compiled(
    folders: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="energy method is 'sun'"):
        ff.ladder(out, teacher=folders["teacher"], data=data, settings=LadderSettings(energy="sun"))
    assert not out.exists()


def test_energy_that_cannot_be_read_is_explained_while_it_runs_and_in_the_report(
    folders: dict[str, Path],
    data: Path,
    tmp_path: Path,
    quick: Quick,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_permission(_: Path) -> None:
        raise UnavailableError("the counters may not be read: chmod")

    monkeypatch.setattr(meter, "RaplSource", no_permission)
    told: list[str] = []
    report = ff.ladder(
        tmp_path,
        teacher=folders["teacher"],
        data=data,
        settings=quick(energy="rapl", most_texts=8),
        tell=told.append,
    )
    why = "Energy is unavailable: the counters may not be read: chmod."
    assert why in told
    assert any(why in note for note in notes_of(report))


def test_more_instances_than_cores_are_refused() -> None:
    with pytest.raises(ConfigError, match=f"ask for at most {CORES}"):
        LadderSettings(instances=CORES + 1)


def test_examples_without_labels_are_refused(folders: dict[str, Path], tmp_path: Path, quick: Quick) -> None:
    (tmp_path / "val.jsonl").write_text('{"text": "the cat"}\n' * 3, encoding="utf-8")
    with pytest.raises((ConfigError, FormatError), match="label"):
        climbed(folders, tmp_path, tmp_path / "out", quick())
