# SPDX-License-Identifier: MIT
"""``train`` makes a folder that every command takes, and survives kills; ``evaluate`` scores any folder."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch_threads
from tiny_models import save_checkpoint, word_pieces

import fastformers as ff
from fastformers.errors import ConfigError, FormatError, UnsupportedModelError
from fastformers.recipes.model_folder import open_model, save_model
from fastformers.tasks import TaskFile

one_torch_thread = torch_threads.one_torch_thread

WORDS = "the cat sat on mat dog ran because so not who bank river money".split()
LABELS = ("bad", "good")
LEARNS = ff.TrainConfig(epochs=8, learning_rate=3e-3, batch_size=8)
SHORT = ff.TrainConfig(max_steps=3, batch_size=4)


class Killed(Exception):
    pass


def kill(stage: str, step: int, steps: int) -> None:
    if step == steps:
        raise Killed


def random_rows(count: int, seed: int) -> list[tuple[str, str]]:
    choose = random.Random(seed)
    rows = []
    for _ in range(count):
        label = choose.choice(LABELS)
        words = [*choose.choices(WORDS, k=choose.randrange(2, 9)), label]
        choose.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT without a head and its tokenizer, as transformers saves them."""
    tokenizer = word_pieces([*WORDS, *LABELS, "?"])
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"), tokenizer, max_position_embeddings=24)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Own files: train as CSV, val and test as JSON lines, test without labels."""
    folder = tmp_path_factory.mktemp("data")
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *random_rows(96, 0)])
    for split, count, names in (("val", 40, ("text", "label")), ("test", 6, ("text",))):
        rows = [dict(zip(names, row, strict=False)) for row in random_rows(count, 1)]
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def trained(checkpoint: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "out"
    ff.train(checkpoint, data, output, config=LEARNS, max_length=16, progress=None)
    return output


def test_training_makes_a_folder_with_model_task_and_log(trained: Path) -> None:
    opened = open_model(trained)
    assert opened.required_task().task.labels == LABELS
    assert opened.required_task().max_length == 16
    assert opened.required_task().pairs is False
    log = json.loads((trained / "train_log.json").read_text())
    assert log["score"] > 90
    assert len(log["history"]) == 8
    assert [path.name for path in trained.parent.iterdir()] == ["out"]


def test_a_task_is_evaluated_under_its_official_name(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("sentence\tlabel\nthe cat sat\t1\na dog\t0\n")
    ff.train(checkpoint, tmp_path, tmp_path / "out", task="SST-2", config=SHORT, max_length=16, progress=None)
    scores = [ff.evaluate(tmp_path / "out", tmp_path, task=name) for name in (None, "sst2", "SST-2")]
    assert scores[0] == scores[1] == scores[2]
    with pytest.raises(ConfigError, match="the model answers sst2, not BoolQ"):
        ff.evaluate(tmp_path / "out", tmp_path, task="BoolQ")


def test_evaluation_gives_the_score_of_the_log(trained: Path, data: Path) -> None:
    log = json.loads((trained / "train_log.json").read_text())
    metrics = ff.evaluate(trained, data)
    assert metrics == {**log["metrics"], "score": log["score"]}
    assert ff.evaluate(trained, data, batch_size=3, fixed_length=20)["score"] == log["score"]


def test_compiled_and_quantized_folders_are_evaluated_as_well(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    score = ff.evaluate(trained, data)["score"]
    opened = open_model(trained)
    compiled = ff.compile(opened.model, config=ff.CompileConfig(int8=None))
    save_model(compiled, tmp_path / "compiled", opened.tokenizer, opened.task_file)
    assert ff.evaluate(tmp_path / "compiled", data)["score"] == score


def test_answers_are_written_where_labels_are_unknown(trained: Path, data: Path, tmp_path: Path) -> None:
    assert ff.evaluate(trained, data, split="test", submission=tmp_path) == {}
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == 6
    with pytest.raises(ConfigError, match="label"):
        ff.evaluate(trained, data, split="test")


def test_an_evaluation_that_cannot_end_is_told_before_the_model_answers(
    trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answering(*_: object, **__: object) -> None:
        raise AssertionError("the model was asked")

    monkeypatch.setattr("fastformers.recipes.scoring.predict_logits", answering)
    with pytest.raises(ConfigError, match="absent is not a folder: make it first"):
        ff.evaluate(trained, data, split="test", submission=tmp_path / "absent" / "answers.jsonl")
    with pytest.raises(ConfigError, match=r"the test set of custom .* has examples without a label"):
        ff.evaluate(trained, data, split="test")
    with pytest.raises(
        ConfigError, match=r"fixed_length is 4, and a text of the val set has \d+ tokens: ask for"
    ):
        ff.evaluate(trained, data, fixed_length=4)


def test_a_trained_model_is_trained_further_as_it_is(trained: Path, data: Path, tmp_path: Path) -> None:
    config = replace(SHORT, max_steps=1, learning_rate=1e-9)
    report = ff.train(trained, data, tmp_path / "more", config=config, max_length=16, progress=None)
    assert report.score == ff.evaluate(trained, data)["score"]


def test_a_model_trained_further_cuts_texts_where_it_did_before(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    ff.train(trained, data, tmp_path / "more", config=replace(SHORT, max_steps=1), progress=None)
    lengths = [open_model(folder).required_task().max_length for folder in (trained, tmp_path / "more")]
    assert lengths == [16, 16]


def test_a_pruned_model_is_trained_further(trained: Path, data: Path, tmp_path: Path) -> None:
    opened = open_model(trained)
    ff.prune_(opened.model, ff.PruneConfig(heads=2, ffn=24, scores="magnitude"))
    save_model(opened.model, tmp_path / "pruned", opened.tokenizer, opened.task_file)
    ff.train(tmp_path / "pruned", data, tmp_path / "more", config=SHORT, max_length=16, progress=None)
    again: Any = open_model(tmp_path / "more").model
    assert again.bert.encoder.layer[0].intermediate.dense.out_features == 24
    assert again.bert.encoder.layer[1].attention.self.query.out_features == 16


def test_a_killed_training_goes_on_when_called_again(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    config = replace(SHORT, max_steps=6, evaluate_every=2)
    with pytest.raises(Killed):
        ff.train(checkpoint, data, tmp_path / "out", config=config, max_length=16, progress=kill)
    assert [path.name for path in tmp_path.iterdir()] == ["out.work"]
    report = ff.train(checkpoint, data, tmp_path / "out", config=config, max_length=16, progress=None)
    ff.train(checkpoint, data, tmp_path / "whole", config=config, max_length=16, progress=None)
    assert report.resumed_from == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole")]
    assert weights[0] == weights[1]


def test_the_seed_is_that_of_the_new_head_too(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    heads = []
    for seed in (1, 2):
        config = replace(SHORT, max_steps=1, learning_rate=1e-12, seed=seed)
        ff.train(checkpoint, data, tmp_path / str(seed), config=config, max_length=16, progress=None)
        model: Any = open_model(tmp_path / str(seed)).model
        heads.append(model.classifier.weight.detach())
    assert (heads[0] - heads[1]).abs().max() > 1e-3


def test_activation_is_switched_and_saved(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    ff.train(
        checkpoint, data, tmp_path / "out", config=SHORT, max_length=16, activation="relu", progress=None
    )
    model: Any = open_model(tmp_path / "out").model
    assert model.config.hidden_act == "relu"


def test_a_named_task_is_read_and_its_diagnostic_scored(checkpoint: Path, tmp_path: Path) -> None:
    folders = {"RTE/train": ("premise", "hypothesis"), "RTE/val": ("premise", "hypothesis")}
    folders["AX-b/AX-b"] = ("sentence1", "sentence2")
    for name, (first, second) in folders.items():
        path = tmp_path / "data" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                first: text,
                second: "the cat",
                "idx": index,
                "label": ("entailment", "not_entailment")[index % 2],
            }
            for index, (text, _) in enumerate(random_rows(8, 3))
        ]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    output = tmp_path / "out"
    ff.train(checkpoint, tmp_path / "data", output, task="rte", config=SHORT, max_length=20, progress=None)
    assert open_model(output).required_task().task.name == "rte"
    assert "matthews" in ff.evaluate(output, tmp_path / "data", task="axb", split="test")
    with pytest.raises(ConfigError, match="answers rte, not cb"):
        ff.evaluate(output, tmp_path / "data", task="cb")
    with pytest.raises(ConfigError, match="train on rte"):
        ff.train(checkpoint, tmp_path / "data", tmp_path / "no", task="axb", progress=None)


def test_numbers_are_learned_from_own_files(checkpoint: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        rows = [f"{text},{LABELS.index(label) * 2.5}" for text, label in random_rows(24, 2)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]))
    output = tmp_path / "out"
    report = ff.train(
        checkpoint, tmp_path, output, regression=True, config=SHORT, max_length=16, progress=None
    )
    assert report.metric == "mean(pearson, spearman)"
    assert open_model(output).required_task().task.kind == "regression"


def refused(expected: type[Exception], message: str, *folders: Path, **options: Any) -> None:
    output = folders[2]
    before = sorted(output.parent.rglob("*"))
    with pytest.raises(expected, match=message):
        ff.train(*folders, **{"config": SHORT, "max_length": 16, "progress": None, **options})
    assert sorted(output.parent.rglob("*")) == before


def test_bad_input_is_refused_and_nothing_is_written(
    checkpoint: Path, trained: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    refused(FormatError, "train", checkpoint, checkpoint, out)
    refused(ConfigError, "config.json", data, data, out)
    refused(ConfigError, "make it first", checkpoint, data, out / "below")
    refused(
        ConfigError, "regression is for your own files", checkpoint, data, out, task="rte", regression=True
    )
    refused(ConfigError, "no-such", checkpoint, data, out, task="no-such")
    refused(ConfigError, "holds a model for custom", trained, data, out, task="rte")
    refused(ConfigError, "trained for its task already", trained, data, out, activation="relu")


def test_a_taken_place_is_refused_before_anything_is_read(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    nowhere = tmp_path / "no-checkpoint"
    refused(ConfigError, "not empty", nowhere, data, tmp_path / "out")
    refused(ConfigError, "not overwritten", nowhere, data, tmp_path / "out", overwrite=True)


def test_texts_longer_than_the_models_positions_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        rows = [f"{'cat ' * 40}{label},{label}" for label in LABELS]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]))
    with pytest.raises(ConfigError, match="positions for 24: set max_length=24"):
        ff.train(checkpoint, tmp_path, tmp_path / "out", config=SHORT, progress=None)
    config = replace(SHORT, fixed_length=20)
    ff.train(checkpoint, tmp_path, tmp_path / "out", config=config, progress=None)
    assert open_model(tmp_path / "out").required_task().max_length == 20


def test_int8_models_are_not_trained(trained: Path, data: Path, tmp_path: Path) -> None:
    opened = open_model(trained)
    ff.quantize_(opened.model, ff.Int8Config(equalize=False, never_slower=False))
    save_model(opened.model, tmp_path / "int8", opened.tokenizer, opened.task_file)
    assert ff.evaluate(tmp_path / "int8", data)["score"] > 90
    with pytest.raises(UnsupportedModelError, match="INT8"):
        ff.train(tmp_path / "int8", data, tmp_path / "out", config=SHORT, max_length=16, progress=None)


def test_a_folder_without_a_task_is_not_evaluated(checkpoint: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no task\.json"):
        ff.evaluate(checkpoint, data)


def test_the_task_file_says_how_texts_were_cut(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    ff.train(
        checkpoint,
        data,
        tmp_path / "out",
        config=SHORT,
        max_length=12,
        truncation="longest_first",
        progress=None,
    )
    found = TaskFile.load(tmp_path / "out")
    assert (found.max_length, found.truncation) == (12, "longest_first")
    ff.train(tmp_path / "out", data, tmp_path / "more", config=SHORT, progress=None)
    further = TaskFile.load(tmp_path / "more")
    assert (further.max_length, further.truncation) == (12, "longest_first")


def test_texts_are_cut_later_where_the_model_ends(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    """The texts at hand are short; a longer one would have no position in the model."""
    ff.train(checkpoint, data, tmp_path / "out", config=SHORT, progress=None)
    assert open_model(tmp_path / "out").required_task().max_length == 24
    (tmp_path / "val.csv").write_text(f"text,label\n{'cat ' * 60},bad\n")
    assert ff.evaluate(tmp_path / "out", tmp_path)["accuracy"] in (0.0, 1.0)


def test_a_model_of_single_texts_is_not_scored_on_pairs(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text("text,text_pair,label\ncat,dog,bad\n")
    with pytest.raises(ConfigError, match="the model learned from single texts, and text 0 is a pair"):
        ff.evaluate(trained, tmp_path)


@pytest.mark.parametrize("pairs", ["train", "val"])
def test_second_texts_in_one_set_only_are_refused(pairs: str, checkpoint: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        second = ("text_pair,", "dog,") if split == pairs else ("", "")
        rows = [f"text,{second[0]}label", *(f"cat,{second[1]}{label}" for label in LABELS)]
        (tmp_path / f"{split}.csv").write_text("\n".join(rows))
    with pytest.raises(ConfigError, match=f"the {pairs} set has pairs of texts and the .* set none"):
        ff.train(checkpoint, tmp_path, tmp_path / "out", config=SHORT, progress=None)
