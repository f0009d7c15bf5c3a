# SPDX-License-Identifier: MIT
"""A recipe is checked to its last field before anything runs, and the ready ones pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastformers.errors import ConfigError, FormatError
from fastformers.recipes.ready import find_recipe, ready_recipes
from fastformers.recipes.recipe_file import parse_recipe, read_recipe
from fastformers.recipes.search_space import Candidate, SearchSpace, layers_kept

TRAIN = {"name": "teacher", "kind": "train", "model": "base", "epochs": 2, "learning_rate": 1e-3}
COMPILE = {"name": "fast", "kind": "compile", "model": "base"}
MODELS = {"base": "checkpoint"}


def parse(*stages: dict[str, Any], **tables: Any) -> Any:
    return parse_recipe({"models": MODELS, "stage": list(stages) or [TRAIN], **tables}, Path("/recipes"))


def test_fields_become_stages_and_paths_are_relative_to_the_file() -> None:
    recipe = parse(
        TRAIN,
        {
            "name": "student",
            "kind": "distill",
            "teacher": "teacher",
            "student": "base",
            "layers": [0, 1],
            "temperature": 2.0,
            "epochs": 3,
        },
        recipe={"task": "rte", "seed": 7, "data": "superglue"},
    )
    teacher, student = recipe.stages
    assert recipe.models == {"base": Path("/recipes/checkpoint")}
    assert recipe.data == Path("/recipes/superglue")
    assert (recipe.task, recipe.seed) == ("rte", 7)
    assert (teacher.options.config.epochs, teacher.options.seeded) == (2, False)
    assert student.inputs == {"teacher": "teacher", "student": "base"}
    assert student.options.config.temperature == 2.0
    assert student.options.config.train.epochs == 3
    assert student.options.arguments == {"layers": (0, 1)}


def test_a_compile_stage_is_float32_or_int8_with_its_options() -> None:
    float32 = {**COMPILE, "float32": True, "attention": "float32"}
    int8 = {**COMPILE, "name": "small", "float32": False, "rounding": "compensated"}
    recipe = parse_recipe({"models": MODELS, "stage": [float32, int8]}, Path())
    assert recipe.stages[0].options.arguments == {"float32": True}
    assert recipe.stages[1].options.config.int8.rounding == "compensated"


@pytest.mark.parametrize(
    ("stages", "tables", "message"),
    [
        ([], {"stage": []}, "no \\[\\[stage\\]\\]"),
        ([{**TRAIN, "epoch": 3}], {}, "no option 'epoch'; did you mean 'epochs'"),
        ([{**TRAIN, "epochs": -1}], {}, "stage 'teacher'.*epochs is -1"),
        ([{**TRAIN, "kind": "trian"}], {}, "kind is 'trian'; allowed: train, distill"),
        ([{**TRAIN, "model": "other"}], {}, "model is 'other', which is nothing known yet"),
        ([{**TRAIN, "name": "base"}], {}, "the name 'base' is taken"),
        ([TRAIN, TRAIN], {}, "the name 'teacher' is taken"),
        ([{**TRAIN, "name": "../x"}], {}, "name is '../x'"),
        ([{**TRAIN, "name": 3}], {}, "name is 3"),
        ([{"name": "p", "kind": "prune", "model": "base", "heads": 0.0}], {}, "heads is 0.0"),
        ([{"name": "p", "kind": "prune", "model": "base", "layers": 3}], {}, "layers is 3, must be a list"),
        (
            [{"name": "p", "kind": "prune", "model": "base", "layers": ["0"]}],
            {},
            "must be a list of layers from 0",
        ),
        (
            [{"name": "p", "kind": "prune", "model": "base", "layers": []}],
            {},
            "must be a list of layers from 0",
        ),
        (
            [{"name": "p", "kind": "prune", "model": "base", "layers": [2, 0]}],
            {},
            "layers is \\[2, 0\\], must be a list of layers from 0, each once and in ascending order",
        ),
        ([{**COMPILE, "threads": 2}], {}, "threads would change nothing: they are those of whoever opens"),
        ([{**COMPILE, "never_slower": False}], {}, "never_slower would change nothing: it is for timing"),
        ([{**COMPILE, "min_speedup": 2.0}], {}, "min_speedup would change nothing"),
        (
            [{**COMPILE, "float32": True, "rounding": "compensated", "max_texts": 64}],
            {},
            "float32 = true leaves nothing for rounding, max_texts to change",
        ),
        (
            [{**TRAIN, "name": "report.json"}],
            {},
            "name is 'report.json', and a run writes a file or a folder",
        ),
        ([{**TRAIN, "name": "Stages.JSON"}], {}, "reserved are: report.json, .* and names that end in .work"),
        ([{**TRAIN, "name": "teacher.work"}], {}, "name is 'teacher.work', and a run writes"),
        ([], {"stage": ["a"]}, "stage 1 is 'a', must be a table: write \\[\\[stage\\]\\]"),
        ([TRAIN], {"recipe": {"seed": -1}}, "seed is -1; allowed: 0 to 4294967295"),
        ([TRAIN], {"recipe": {"max_length": 0}}, "max_length is 0; allowed: 3 to"),
        (
            [TRAIN],
            {"recipe": {"task": "wic", "regression": True}},
            "regression is for your own files; wic has its own kind of labels",
        ),
        (
            [TRAIN],
            {"recipe": {"truncation": "left"}},
            "truncation is 'left'; allowed: keep_question, longest_first",
        ),
        ([{"name": "p", "kind": "prune", "model": "base", "split": "test"}], {}, "must be 'train' or 'val'"),
        ([TRAIN], {"recipe": {"max_length": "long"}}, "max_length is 'long', must be of type int"),
        ([TRAIN], {"recipe": {"sead": 1}}, "no field 'sead'; did you mean 'seed'"),
        ([TRAIN], {"stages": []}, "no field 'stages'; did you mean 'stage'"),
        ([TRAIN], {"models": {"base": 3}}, "\\[models\\] base is 3"),
    ],
)
def test_what_is_wrong_is_named(stages: list[Any], tables: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_recipe({"models": MODELS, "stage": stages, **tables}, Path())


def test_a_stage_may_only_read_what_comes_before_it() -> None:
    later = {"name": "int8", "kind": "quantize", "model": "teacher"}
    with pytest.raises(ConfigError, match="model is 'teacher', which is nothing known yet"):
        parse(later, TRAIN)


def test_a_recipe_may_begin_with_the_mark_that_editors_of_windows_write(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(find_recipe("cb").read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert read_recipe(tmp_path / "a.toml") == read_recipe(find_recipe("cb"))


def test_files_that_are_no_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        read_recipe(tmp_path / "absent.toml")
    (tmp_path / "a.toml").write_text("[recipe\n")
    with pytest.raises(FormatError, match="not TOML"):
        read_recipe(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text(f"a = {'[' * 5000}{']' * 5000}\n")
    with pytest.raises(FormatError, match=r"a\.toml is nested too deep"):
        read_recipe(tmp_path / "a.toml")
    with pytest.raises(ConfigError, match="neither a file nor one of the ready recipes: boolq"):
        find_recipe("bolq")


def test_what_the_caller_must_give_is_asked_for(tmp_path: Path) -> None:
    recipe = parse_recipe({"models": {"base": ""}, "stage": [TRAIN]}, tmp_path)
    with pytest.raises(ConfigError, match="--model base=DIR"):
        recipe.with_paths(tmp_path, {})
    with pytest.raises(ConfigError, match="--data DIR"):
        recipe.with_paths(None, {"base": tmp_path})
    with pytest.raises(ConfigError, match="no model 'bsae'; it has: base"):
        recipe.with_paths(tmp_path, {"bsae": tmp_path})
    with pytest.raises(ConfigError, match="not a folder"):
        recipe.with_paths(tmp_path, {"base": tmp_path / "absent"})


@pytest.mark.parametrize("name", ready_recipes())
def test_ready_recipes_are_whole(name: str) -> None:
    recipe = read_recipe(find_recipe(name))
    assert [stage.kind for stage in recipe.stages] == ["train", "distill", "prune", "distill", "compile"]
    assert recipe.task == ("" if name == "own-csv" else name)
    assert SearchSpace.of(recipe).trials >= 1


def test_there_is_a_recipe_for_each_task_of_superglue_and_for_own_data() -> None:
    assert set(ready_recipes()) == {
        "boolq",
        "cb",
        "copa",
        "copa-choices",
        "multirc",
        "own-csv",
        "record",
        "rte",
        "wic",
        "wsc",
    }


def test_texts_of_a_search_are_found_beside_the_recipe(tmp_path: Path) -> None:
    content = {"models": {"base": "x"}, "stage": [TRAIN], "search": {"unlabelled": "more.txt"}}
    assert parse_recipe(content, tmp_path).search["unlabelled"] == str(tmp_path / "more.txt")
    content["search"] = {"unlabelled": "test"}
    assert parse_recipe(content, tmp_path).search["unlabelled"] == "test"


def test_layers_are_spread_with_the_last_among_them() -> None:
    assert [layers_kept(depth, 6) for depth in (1, 2, 3, 4, 6)] == [
        [5],
        [2, 5],
        [1, 3, 5],
        [0, 2, 3, 5],
        [0, 1, 2, 3, 4, 5],
    ]
    with pytest.raises(ConfigError, match="cannot be cut from one of 6"):
        layers_kept(7, 6)


SEARCH = {"teacher": "teacher", "student": "base", "depth": [4, 2], "heads": [1.0, 0.5]}


def test_a_search_space_is_every_combination() -> None:
    space = SearchSpace.of(parse(search=SEARCH))
    assert [candidate.name for candidate in space.candidates()] == [
        "4-layers-int8",
        "4-layers-h50-f100-int8",
        "2-layers-int8",
        "2-layers-h50-f100-int8",
    ]


def test_candidates_share_stages_and_add_only_what_they_need() -> None:
    recipe = parse(search=SEARCH)
    space = SearchSpace.of(recipe)
    plain = space.recipe_for(recipe, Candidate(2, 1.0, 1.0, True), 4).stages
    pruned = space.recipe_for(recipe, Candidate(2, 0.5, 1.0, False), 4).stages
    assert [stage.name for stage in plain] == ["teacher", "2-layers", "2-layers-int8"]
    assert [stage.kind for stage in pruned] == ["train", "distill", "prune", "distill", "compile"]
    assert pruned[:2] == plain[:2]
    assert plain[1].options.arguments == {"layers": (1, 3)}
    assert pruned[2].options.config.heads == 0.5
    assert pruned[-1].options.arguments == {"float32": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": "base"}, "teacher is 'base'; allowed: teacher"),
        ({"student": "x"}, "student is 'x'"),
        ({"depth": []}, "depth is \\[\\], must be a list of numbers of layers"),
        ({"depth": [0]}, "depth"),
        ({"heads": [1.5]}, "heads is \\[1.5\\], must be a list of shares"),
        ({"int8": [1]}, "int8"),
        ({"trials": 0}, "trials is 0"),
        ({"heads": [0.504, 0.501]}, "would both be called"),
        ({"epoch": 2}, "no option 'epoch'"),
    ],
)
def test_a_search_table_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSpace.of(parse(search={**SEARCH, **change}))


@pytest.mark.parametrize(
    "name", ["2-layers", "4-layers-h50-f100-weights", "2-layers-h50-f100", "4-layers-int8"]
)
def test_a_search_does_not_share_its_stages_names_with_the_recipe(name: str) -> None:
    stage = {**TRAIN, "name": name}
    with pytest.raises(ConfigError, match=f"makes a stage '{name}' of its own.*rename the recipe's"):
        SearchSpace.of(parse(TRAIN, stage, search=SEARCH))
    with pytest.raises(ConfigError, match=f"makes a stage '{name}' of its own"):
        SearchSpace.of(parse(models={**MODELS, name: "other"}, search=SEARCH))


def test_a_recipe_without_a_search_table_cannot_be_searched() -> None:
    with pytest.raises(ConfigError, match=r"no \[search\] table"):
        SearchSpace.of(parse())
