# SPDX-License-Identifier: MIT
"""The head that compares two texts on the whole road: trained, distilled, pruned, quantized, compiled, asked."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastformers as ff
from fastformers.errors import ConfigError
from fastformers.modules.pair_classifier import PairClassifier
from fastformers.pair_head import PairHead
from fastformers.recipes.compile_folder import compile_folder
from fastformers.recipes.model_folder import open_model
from fastformers.recipes.pruning import prune_folder
from fastformers.recipes.quantizing import quantize_folder
from fastformers.recipes.recipe_run import make_plan
from fastformers.recipes.recipe_search import _Search
from fastformers.recipes.search_checks import check_search
from fastformers.recipes.search_space import SearchSpace

WORDS = "the cat sat on mat dog ran because so not".split()
LABELS = ("other", "same")
QUICK = ff.TrainConfig(epochs=10, learning_rate=1e-3, batch_size=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of texts of equal or of other words, and texts without a second one."""
    folder = tmp_path_factory.mktemp("pairs")
    choose = random.Random(0)
    for name, count in (("train", 64), ("val", 32)):
        rows = []
        for place in range(count):
            words = choose.sample(WORDS, k=6)
            same = place % 2
            second = words[:3] if same else words[3:]
            choose.shuffle(second)
            rows.append({"text": " ".join(words[:3]), "text_pair": " ".join(second), "label": LABELS[same]})
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    single = folder / "single"
    single.mkdir()
    for name in ("train", "val"):
        lines = [json.dumps({"text": word, "label": LABELS[place % 2]}) for place, word in enumerate(WORDS)]
        (single / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def teacher(tiny_checkpoint: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "out"
    report = ff.train(tiny_checkpoint, data, out, config=QUICK, head="cosine", progress=None)
    assert report.score == 100.0
    return out


def test_every_verb_takes_what_the_one_before_made(
    teacher: Path, tiny_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    config = ff.DistillConfig(train=QUICK)
    ff.distill_folders(
        teacher, tiny_checkpoint, data, tmp_path / "student", head="cosine", config=config, progress=None
    )
    prune_folder(tmp_path / "student", tmp_path / "pruned", data, ff.PruneConfig(heads=0.5, ffn=0.5))
    ff.train(tmp_path / "pruned", data, tmp_path / "again", config=QUICK, progress=None)
    quantize_folder(tmp_path / "again", tmp_path / "int8", ff.Int8Config(never_slower=False))
    opened = open_model(tmp_path / "int8")
    assert type(opened.model) is PairClassifier
    assert type(opened.model.classifier) is torch.nn.Linear
    compile_folder(tmp_path / "again", tmp_path / "compiled", ff.CompileConfig())
    asked: list[Any] = [("the cat sat", "sat the cat"), ("the cat sat", "dog ran so")]
    for folder in ("again", "compiled"):  # torch's batches of these lengths are padded
        answers = ff.predict(tmp_path / folder, asked)
        assert [answer.label for answer in answers] == ["same", "other"]


@pytest.mark.parametrize("regression", [False, True])
def test_a_new_head_starts_in_the_middle_of_what_it_is_to_learn(
    regression: bool, tiny_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    for name in ("train", "val"):
        rows = [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
        numbers = (
            [{**row, "label": 3.0 + 2.0 * LABELS.index(row["label"])} for row in rows] if regression else rows
        )
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in numbers))
    barely = ff.TrainConfig(max_steps=1, learning_rate=1e-9, batch_size=8)
    ff.train(
        tiny_checkpoint,
        tmp_path,
        tmp_path / "out",
        config=barely,
        head="cosine",
        regression=regression,
        progress=None,
    )
    opened = open_model(tmp_path / "out")
    scores = []
    for row in map(json.loads, (tmp_path / "train.jsonl").read_text().splitlines()):
        with torch.no_grad():
            encoded = opened.tokenizer(row["text"], row["text_pair"], return_tensors="pt")
            scores.append(opened.model(**dict(encoded)).logits[0])
    logits = torch.stack(scores)
    middle = float(logits.mean()) if regression else float((logits[:, 1] - logits[:, 0]).mean())
    assert middle == pytest.approx(4.0 if regression else 0.0, abs=0.1)  # the mean cosine is rounded to 0.01


def test_a_student_that_predicts_numbers_learns_from_texts_without_any(
    tiny_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    further = []
    for name in ("train", "val"):
        rows = [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
        numbers = [{**row, "label": float(LABELS.index(row["label"]))} for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in numbers))
        further = [{name: row[name] for name in ("text", "text_pair")} for row in rows]
    (tmp_path / "further.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in further))
    once = ff.TrainConfig(epochs=1, batch_size=8)
    teacher = tmp_path / "teacher"
    ff.train(tiny_checkpoint, tmp_path, teacher, config=once, head="cosine", regression=True, progress=None)
    report = ff.distill_folders(
        teacher,
        tiny_checkpoint,
        tmp_path,
        tmp_path / "student",
        head="cosine",
        unlabelled=tmp_path / "further.jsonl",
        config=ff.DistillConfig(train=once),
        progress=None,
    )
    assert (report.examples, report.unlabelled) == (64 + 32, 32)


def test_a_new_head_finds_out_which_label_means_alike(
    tiny_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    barely = ff.TrainConfig(max_steps=1, learning_rate=1e-9, batch_size=8)
    scores = []
    for names in (
        LABELS,
        ("unlike", "same"),
    ):  # in the order of their names the alike ones come last, and first
        folder = tmp_path / names[0]
        folder.mkdir()
        for name in ("train", "val"):
            rows = [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
            renamed = [{**row, "label": names[LABELS.index(row["label"])]} for row in rows]
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in renamed))
        report = ff.train(
            tiny_checkpoint, folder, folder / "out", config=barely, head="cosine", progress=None
        )
        scores.append(report.score)
    assert scores[0] == scores[1] > 70


def test_layers_of_a_teacher_are_a_student_with_its_head(teacher: Path, data: Path, tmp_path: Path) -> None:
    config = ff.DistillConfig(train=QUICK)
    for name, cut in (("cut", {"layers": (0, 2)}), ("narrow", {"hidden": 32})):
        ff.distill_folders(teacher, teacher, data, tmp_path / name, config=config, progress=None, **cut)
        assert type(open_model(tmp_path / name).model) is PairClassifier


def test_a_smaller_vocabulary_keeps_the_answers(teacher: Path, data: Path) -> None:
    opened = open_model(teacher)
    texts = [("the cat sat", "sat the cat"), ("dog ran", "so not")]

    def logits(tokenizer: Any) -> np.ndarray[Any, Any]:
        rows = [tokenizer(*pair, return_tensors="pt") for pair in texts]
        with torch.no_grad():
            return np.concatenate([opened.model(**dict(row)).logits.numpy() for row in rows])

    before = logits(opened.tokenizer)
    smaller = ff.prune_vocabulary_(opened.model, opened.tokenizer, texts)
    assert len(smaller) < len(opened.tokenizer)
    assert opened.model.config.pair_separator_token_id == smaller.sep_token_id
    assert np.array_equal(logits(smaller), before)


def test_texts_without_a_second_one_are_refused(tiny_checkpoint: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"compares the two texts of a pair, and example .* has one"):
        ff.train(
            tiny_checkpoint, data / "single", tmp_path / "out", config=QUICK, head="cosine", progress=None
        )


def test_texts_longer_than_the_model_takes_are_refused_before_the_head_reads_them(
    teacher: Path, tiny_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    for name in ("train", "val"):
        rows = [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
        rows[-1]["text"] = "the cat " * 400
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for verb in (partial(ff.train, tiny_checkpoint), partial(ff.distill_folders, teacher, tiny_checkpoint)):
        with pytest.raises(ConfigError, match=r"a text has \d+ tokens, the model has positions for"):
            verb(tmp_path, tmp_path / "out", head="cosine", max_length=800, progress=None)


def test_a_trained_model_and_the_teachers_own_folder_keep_their_heads(
    teacher: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"head is 'cosine'.*trained for its task already"):
        ff.train(teacher, data, tmp_path / "out", config=QUICK, head="cosine", progress=None)
    with pytest.raises(ConfigError, match=r"head is 'cosine'.*its student has the same"):
        ff.distill_folders(
            teacher, teacher, data, tmp_path / "out", head="cosine", layers=(0, 1), progress=None
        )


@pytest.mark.parametrize(
    ("folder", "stages", "message"),
    [
        (
            "",
            [{"name": "t", "kind": "train", "model": "base", "head": "dot"}],
            "head is 'dot', must be 'cosine'",
        ),
        (
            "single",
            [{"name": "t", "kind": "train", "model": "base", "head": "cosine"}],
            "stage 't': head is 'cosine'.*has one",
        ),
        (
            "",
            [
                {"name": "t", "kind": "train", "model": "base"},
                {"name": "s", "kind": "train", "model": "t", "head": "cosine"},
            ],
            "stage 's': head is 'cosine', and 't' is trained",
        ),
    ],
)
def test_a_recipe_tells_a_head_that_does_not_fit_before_anything_runs(
    tiny_checkpoint: Path, data: Path, tmp_path: Path, folder: str, stages: list[Any], message: str
) -> None:
    lines = ["[recipe]", "[models]", 'base = ""']
    for stage in stages:
        lines += ["[[stage]]", *(f"{key} = {json.dumps(value)}" for key, value in stage.items())]
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=message):
        make_plan(path, tmp_path / "out", data=data / folder, models={"base": tiny_checkpoint})


SEARCH = """
[recipe]
[models]
base = ""
[[stage]]
name = "t"
kind = "train"
model = "base"
[search]
teacher = "t"
student = "base"
depth = [1]
heads = [0.5]
head = "cosine"
"""


def test_the_students_of_a_search_get_the_head_before_they_are_pruned(
    tiny_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(SEARCH)
    plan = make_plan(path, tmp_path / "out", data=data, models={"base": tiny_checkpoint})
    space = SearchSpace.of(plan.recipe)
    layers = check_search(plan.recipe, space, plan.task)
    stages = space.recipe_for(plan.recipe, next(space.candidates()), layers).stages
    heads = {stage.name: stage.options.arguments.get("head") for stage in stages if stage.kind == "distill"}
    assert heads == {"1-layers": "cosine", "1-layers-h50-f100": None}


def test_a_search_times_the_head_that_is_trained(tiny_checkpoint: Path, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    for of_teacher, expected in (
        ("", "BertForSequenceClassification"),
        ('head = "cosine"\n', "PairClassifier"),
    ):
        path.write_text(SEARCH.replace("[search]", f"{of_teacher}[search]"))
        plan = make_plan(path, tmp_path / "out", data=data, models={"base": tiny_checkpoint})
        space = SearchSpace.of(plan.recipe)
        layers = check_search(plan.recipe, space, plan.task)
        search = _Search(plan, space, layers, tmp_path, 1.0, None, False)
        assert type(search._teacher.model).__name__ == expected
        fast, shape = search._cut(next(space.candidates()))
        assert isinstance(fast.text_head, PairHead)
        assert shape.heads == 2


def test_a_search_tells_of_single_texts_before_anything_runs(
    tiny_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(SEARCH)
    with pytest.raises(ConfigError, match=r"\[search\] head is 'cosine'.*has one"):
        ff.search(
            path,
            tmp_path / "out",
            data=data / "single",
            models={"base": tiny_checkpoint},
            max_drop=1.0,
            progress=False,
        )
