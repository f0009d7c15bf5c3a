# SPDX-License-Identifier: MIT
"""A folder in, a smaller model's folder out, with the task it answers; nothing is written when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_checkpoint, word_pieces

import fastformers as ff
from fastformers.errors import CalibrationError, ConfigError, UnsupportedModelError
from fastformers.modules.layer_shapes import LayerShape, shapes_of
from fastformers.modules.span_classifier import SpanClassifier
from fastformers.recipes.model_folder import open_model, save_model
from fastformers.recipes.pruning import prune_folder
from fastformers.recipes.quantizing import quantize_folder
from fastformers.tasks import TaskFile, build_model, custom_task, get_task

WORDS = "the cat sat on a mat and saw dog run bank river good bad".split()
HALF = ff.PruneConfig(heads=2, ffn=16)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return word_pieces(WORDS)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return save_checkpoint(
        tmp_path_factory.mktemp("checkpoint"),
        tokenizer,
        hidden_size=48,
        num_hidden_layers=3,
        intermediate_size=32,
        initializer_range=0.3,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, first in (("train", 0), ("val", 3)):
        rows = [
            {"text": f"the {WORDS[place % 14]} sat on a {WORDS[(5 * place) % 14]}", "label": "ab"[place % 2]}
            for place in range(first, first + 12)
        ]
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, tokenizer: Any, data: Path) -> Path:
    """A classifier with its task."""
    task = custom_task(data)
    path = tmp_path_factory.mktemp("trained") / "model"
    save_model(build_model(task, checkpoint), path, tokenizer, TaskFile(task, max_length=16))
    return path


def test_a_folder_is_pruned_on_the_data_of_its_task(folder: Path, data: Path, tmp_path: Path) -> None:
    report = prune_folder(folder, tmp_path / "out", data, HALF)
    opened = open_model(tmp_path / "out")
    assert shapes_of(opened.model) == (LayerShape(2, 12, 16),) * 3
    assert opened.required_task().to_dict() == open_model(folder).required_task().to_dict()
    assert (report.examples, report.notes) == (12, ())
    assert json.loads((tmp_path / "out" / "pruning.json").read_text()) == report.to_dict()
    again = prune_folder(tmp_path / "out", tmp_path / "again", data, ff.PruneConfig(heads=1))
    assert [layer.heads_before for layer in again.layers] == [2, 2, 2]


def test_scores_on_the_set_of_the_results_are_said_to_leak(folder: Path, data: Path, tmp_path: Path) -> None:
    report = prune_folder(folder, tmp_path / "out", data, HALF, split="val")
    assert "scored on the val set, which leaks" in str(report)


def test_no_more_examples_are_scored_on_than_asked(folder: Path, data: Path, tmp_path: Path) -> None:
    config = ff.PruneConfig(heads=2, max_examples=5)
    assert prune_folder(folder, tmp_path / "out", data, config).examples == 5


def test_layers_and_vocabulary_go_with_or_without_heads(folder: Path, data: Path, tmp_path: Path) -> None:
    before = sum(parameter.numel() for parameter in open_model(folder).model.parameters())
    texts = ["the cat sat on a mat"]
    for number, config in enumerate((None, HALF)):
        output = tmp_path / str(number)
        report = prune_folder(folder, output, data, config, layers=(0, 2), vocabulary_texts=texts)
        opened = open_model(output)
        assert len(shapes_of(opened.model)) == len(report.layers) == 2
        assert report.parameters_before == before
        assert report.parameters == sum(parameter.numel() for parameter in opened.model.parameters())
        assert report.macs_before == 3 * 48 * (4 * 48 + 2 * 32)
        assert "layers kept: 0, 2 of the 3" in str(report)
        assert "vocabulary: 18 -> 10 pieces" in str(report)
        assert opened.tokenizer.tokenize(texts[0]) == texts[0].split()


def test_data_are_needed_only_by_scores_that_look_at_them(
    folder: Path, checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    by_magnitude = ff.PruneConfig(heads=2, scores="magnitude")
    assert prune_folder(checkpoint, tmp_path / "out", None, by_magnitude).examples == 0
    with pytest.raises(ConfigError, match="folder of the task's data"):
        prune_folder(folder, tmp_path / "other", None, HALF)
    with pytest.raises(ConfigError, match=r"no task\.json"):
        prune_folder(checkpoint, tmp_path / "other", data, HALF)
    assert not (tmp_path / "other").exists()


def test_wrong_requests_write_nothing(folder: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is to be pruned"):
        prune_folder(folder, tmp_path / "out", data)
    with pytest.raises(ConfigError, match="4 heads; heads=5"):
        prune_folder(folder, tmp_path / "out", data, ff.PruneConfig(heads=5))
    with pytest.raises(ConfigError, match="from 0 to 2"):
        prune_folder(folder, tmp_path / "out", data, layers=(3,))
    assert not (tmp_path / "out").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not saved by fastformers"):
        prune_folder(folder, tmp_path / "taken", data, HALF, overwrite=True)


def test_a_split_that_nothing_reads_is_refused(folder: Path, data: Path, tmp_path: Path) -> None:
    by_magnitude = ff.PruneConfig(heads=2, scores="magnitude")
    for config, layers in ((by_magnitude, None), (None, (0,))):
        with pytest.raises(ConfigError, match="split is 'val', and nothing reads data"):
            prune_folder(folder, tmp_path / "out", data, config, split="val", layers=layers)
    assert not (tmp_path / "out").exists()


def test_texts_longer_than_the_model_are_refused(
    checkpoint: Path, tokenizer: Any, data: Path, tmp_path: Path
) -> None:
    task = custom_task(data)
    save_model(build_model(task, checkpoint), tmp_path / "model", tokenizer, TaskFile(task, max_length=64))
    rows = [{"text": " ".join(WORDS * 3), "label": label} for label in "ab"]
    (tmp_path / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "val.jsonl").write_text((tmp_path / "train.jsonl").read_text())
    with pytest.raises(ConfigError, match="a text has 44 tokens, the model has positions for 32"):
        prune_folder(tmp_path / "model", tmp_path / "out", tmp_path, HALF)
    assert not (tmp_path / "out").exists()


def test_a_pruned_folder_is_quantized_with_its_task(folder: Path, data: Path, tmp_path: Path) -> None:
    prune_folder(folder, tmp_path / "pruned", data, HALF)
    config = ff.Int8Config(never_slower=False)
    report = quantize_folder(tmp_path / "pruned", tmp_path / "int8", config, texts=[" ".join(WORDS)] * 8)
    assert "int8" in {layer.decision for layer in report.layers}
    opened = open_model(tmp_path / "int8")
    assert opened.required_task().to_dict() == open_model(folder).required_task().to_dict()
    assert shapes_of(opened.model) == (LayerShape(2, 12, 16),) * 3
    ff.save_pretrained(ff.compile(opened.model), tmp_path / "fast", opened.tokenizer)
    with pytest.raises(
        UnsupportedModelError, match=r"fast holds a compiled encoder.* quantized: take the model"
    ):
        quantize_folder(tmp_path / "fast", tmp_path / "out")
    with pytest.raises(
        UnsupportedModelError, match=r"fast holds a compiled encoder.* pruned: take the model"
    ):
        prune_folder(tmp_path / "fast", tmp_path / "out", data, HALF)
    with pytest.raises(UnsupportedModelError, match="prune the float model"):
        prune_folder(tmp_path / "int8", tmp_path / "out", data, ff.PruneConfig(heads=1))


def test_span_classifiers_are_pruned_and_quantized(checkpoint: Path, tokenizer: Any, tmp_path: Path) -> None:
    task = get_task("wic")
    save_model(build_model(task, checkpoint), tmp_path / "model", tokenizer, TaskFile(task, max_length=24))
    row = {
        "word": "bank",
        "sentence1": "the bank",
        "sentence2": "a good bank",
        "start1": 4,
        "end1": 8,
        "start2": 7,
        "end2": 11,
        "version": 1.1,
    }
    rows = [{"idx": place, "label": place % 2 == 0, **row} for place in range(6)]
    (tmp_path / "train.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    report = prune_folder(tmp_path / "model", tmp_path / "pruned", tmp_path, HALF)
    assert report.examples == 6
    config = ff.Int8Config(never_slower=False)
    quantized = quantize_folder(tmp_path / "pruned", tmp_path / "int8", config)
    assert "int8" in {layer.decision for layer in quantized.layers}
    with pytest.raises(CalibrationError, match="too few"):
        quantize_folder(tmp_path / "pruned", tmp_path / "none", config, texts=[])
    opened = open_model(tmp_path / "int8")
    assert type(opened.model) is SpanClassifier
    assert opened.required_task().task.name == "wic"
