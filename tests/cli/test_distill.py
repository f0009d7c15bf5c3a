# SPDX-License-Identifier: MIT
"""``fastformers distill`` makes a smaller model's folder from a teacher's, or says what is wrong and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import exit_status

from fastformers.cli.exit_codes import ExitCode

pytest.importorskip("torch", reason="distill needs the torch extra")
pytest.importorskip("transformers", reason="distill needs the torch extra")
pytest.importorskip("accelerate", reason="distill needs the train extra")
FAST = ("--epochs", 1, "--batch-size", 8, "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, example_texts: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "val"):
        lines = (
            json.dumps({"text": text, "label": "even" if index % 2 == 0 else "odd"})
            for index, text in enumerate(example_texts)
        )
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, data: Path, model_folder: Path) -> Path:
    """A random model of three layers with the task of the data."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from fastformers.recipes.model_folder import save_model
    from fastformers.tasks import TaskFile, custom_task

    torch.manual_seed(0)
    config = BertConfig.from_pretrained(
        model_folder, num_hidden_layers=3, id2label={0: "even", 1: "odd"}, label2id={"even": 0, "odd": 1}
    )
    folder = tmp_path_factory.mktemp("teacher") / "model"
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    save_model(
        BertForSequenceClassification(config).eval(), folder, tokenizer, TaskFile(custom_task(data), 24)
    )
    return folder


def arguments(teacher: Path, data: Path, output: Path, *more: object) -> tuple[object, ...]:
    return ("distill", "--teacher", teacher, "--student", teacher, "--data", data, "-o", output, *FAST, *more)


def test_the_student_loads_and_the_report_is_json(
    teacher: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert exit_status(*arguments(teacher, data, output, "--layers", "0,2", "--json")) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert report["student"]["layers"] == 2
    assert report["difference"] == report["student_score"] - report["teacher_score"]
    from fastformers.recipes.model_folder import open_model

    assert open_model(output).model.config.num_hidden_layers == 2


def test_the_report_is_text_and_says_where_the_result_is(
    teacher: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert exit_status(*arguments(teacher, data, output, "--layers", "1", "--max-length", 3)) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "1 layer," in printed
    assert "texts cut at 3 tokens" in printed  # what the training has to say
    assert f"Saved in {output}" in printed.replace("\n", "")


def test_every_option_reaches_the_recipe(
    teacher: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, Any] = {}

    def recipe(*places: Path, **options: Any) -> str:
        found.update(options, places=places)
        return "report"

    monkeypatch.setattr("fastformers.recipes.distilling.distill_folders", recipe)
    texts = tmp_path / "texts.txt"
    texts.write_text("the cat")
    given = {
        "--layers": "0,2",
        "--heads": 3,
        "--ffn": 40,
        "--hidden": 16,
        "--activation": "relu",
        "--temperature": 2.0,
        "--hard-labels": 0.25,
        "--embeddings": 0.5,
        "--hidden-states": 0.75,
        "--hidden-distance": "cosine",
        "--attention": 1.5,
        "--attention-kind": "probabilities",
        "--layer-map": "0:1,1:2",
        "--unlabelled": texts,
        "--epochs": 2.5,
        "--max-steps": 9,
        "--lr": 1e-3,
        "--batch-size": 4,
        "--accumulation": 2,
        "--weight-decay": 0.1,
        "--warmup": 0.25,
        "--max-grad-norm": 0.5,
        "--evaluate-every": 5,
        "--precision": "bfloat16",
        "--seed": 7,
        "--max-length": 32,
        "--fixed-length": 48,
        "--patience": 3,
        "--device": "cpu",
    }
    words = [word for option in given.items() for word in option]
    assert exit_status(*arguments(teacher, data, tmp_path / "out"), *words, "--overwrite") == ExitCode.OK
    config = found["config"].to_dict()
    train = config.pop("train")
    assert config == {
        "temperature": 2.0,
        "hard_labels": 0.25,
        "embeddings": 0.5,
        "hidden_states": 0.75,
        "hidden_distance": "cosine",
        "attention": 1.5,
        "attention_kind": "probabilities",
        "layer_map": [[0, 1], [1, 2]],
    }
    expected = {
        "epochs": 2.5,
        "max_steps": 9,
        "learning_rate": 1e-3,
        "batch_size": 4,
        "accumulation": 2,
        "weight_decay": 0.1,
        "warmup": 0.25,
        "max_grad_norm": 0.5,
        "evaluate_every": 5,
        "precision": "bfloat16",
        "seed": 7,
        "fixed_length": 48,
        "patience": 3,
    }
    assert {name: train[name] for name in expected} == expected
    assert train["device"] == "cpu"
    assert found["layers"] == (0, 2)
    assert (found["heads"], found["ffn"], found["hidden"]) == (3, 40, 16)
    assert (found["activation"], found["max_length"], found["unlabelled"]) == ("relu", 32, str(texts))
    assert found["overwrite"] is True


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        ((), ExitCode.USAGE, "no layers are chosen"),
        (("--layers", "0,9"), ExitCode.USAGE, "layers from 0 to 2"),
        (("--layers", "zero"), ExitCode.USAGE, "no list of layers"),
        (("--layers", "0", "--layer-map", "0"), ExitCode.USAGE, "no list of pairs"),
        (("--layers", "0", "--temperature", "-1"), ExitCode.USAGE, "DistillConfig.temperature"),
        (("--layers", "0", "--hard-labels", "2"), ExitCode.USAGE, "DistillConfig.hard_labels"),
        (("--layers", "0", "--activation", "sharp"), ExitCode.USAGE, "'sharp'"),
    ],
)
def test_wrong_choices_are_wrong_usage_and_nothing_is_written(
    more: tuple[str, ...],
    status: ExitCode,
    message: str,
    teacher: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_status(*arguments(teacher, data, tmp_path / "out", *more)) == status
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_missing_data_file_is_a_bad_file(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    status = exit_status(*arguments(teacher, tmp_path / "empty", tmp_path / "out", "--layers", "0"))
    assert status == ExitCode.BAD_FILE
    assert "neither train.csv nor train.jsonl" in " ".join(capsys.readouterr().err.split())
