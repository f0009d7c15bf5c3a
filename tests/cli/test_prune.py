# SPDX-License-Identifier: MIT
"""``fastformers prune`` turns a model folder into a smaller one, or says what is wrong and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import exit_status

import fastformers
from fastformers.cli.exit_codes import ExitCode

pytest.importorskip("torch", reason="prune needs the torch extra")
pytest.importorskip("transformers", reason="prune needs the torch extra")


def test_result_loads_and_the_report_is_json(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fastformers.modules.layer_shapes import LayerShape, shapes_of

    output = tmp_path / "out"
    options = ("--heads", 1, "--ffn", 0.5, "--scores", "magnitude", "--json")
    assert exit_status("prune", model_folder, "-o", output, *options) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert [layer["ffn"] for layer in report["layers"]] == [64]
    assert shapes_of(fastformers.load_pretrained_torch(output)) == (LayerShape(1, 32, 64),)


def test_labelled_data_layers_and_vocabulary(
    model_folder: Path,
    example_texts: list[str],
    texts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from fastformers.recipes.model_folder import open_model, save_model
    from fastformers.tasks import TaskFile, custom_task

    rows = [{"text": text, "label": place % 2} for place, text in enumerate(example_texts)]
    for split in ("train", "val"):
        (tmp_path / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    opened = open_model(model_folder)
    task_file = TaskFile(custom_task(tmp_path), max_length=16)
    save_model(opened.model, tmp_path / "model", opened.tokenizer, task_file)
    options = ("--data", tmp_path, "--macs", 0.6, "--split", "val", "--layers", 0, "--vocabulary", texts)
    assert exit_status("prune", tmp_path / "model", *options, "-o", tmp_path / "out") == ExitCode.OK
    printed = capsys.readouterr().out
    for words in ("scores first_order on 24 examples, ranked over all layers", "leaks", "layers kept: 0"):
        assert words in printed
    assert (tmp_path / "out" / "task.json").is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "nothing is to be pruned"),
        (("--heads", "many"), "neither a whole number nor a share"),
        (("--heads", "3", "--scores", "magnitude"), "has 2 heads; heads=3"),
        (("--heads", "1.5"), "heads is 1.5"),
        (("--heads", "1"), "no task.json"),
        (("--layers", "0,x"), "no list of layers"),
        (("--layers", "1"), "from 0 to 0"),
        (("--macs", "0.5", "--heads", "1"), "instead of heads and ffn"),
    ],
)
def test_wrong_requests_are_wrong_usage(
    model_folder: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = exit_status("prune", model_folder, "-o", tmp_path / "out", *options)
    assert status == ExitCode.USAGE
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
