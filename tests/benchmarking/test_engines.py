# SPDX-License-Identifier: MIT
"""Engines: batches in both forms, conversions kept whole, and every installed engine giving the answers of torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastformers.benchmarking.contestant_process import ContestantProcess
from fastformers.benchmarking.contestants import Contestant
from fastformers.benchmarking.encoder_worker import MODULE, EncoderWorker
from fastformers.benchmarking.engines import ENGINES, FAMILIES, REFERENCE, chosen
from fastformers.benchmarking.engines.batch import Batch, cosine
from fastformers.benchmarking.engines.model_source import FolderSource, answer_of, kept
from fastformers.errors import FormatError

BATCHES = {
    "single": [[2, 5, 6, 7, 3]],
    "equal": [[2, 9, 4, 3], [2, 4, 8, 3]],
    "ragged": [[2, 5, 6, 7, 3], [2, 3]],
}
# Random weights of width 64: 200 of them per output row, quantized per tensor or per channel.
LEAST_COSINE = {"float32": 0.999999, "int8": 0.98}


def test_padded_and_ragged_forms_hold_the_same_tokens() -> None:
    batch = Batch.of([[7, 8, 9], [4]])
    ids, mask = batch.padded(1)
    assert ids.tolist() == [[7, 8, 9], [4, 1, 1]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    tokens, offsets = batch.ragged()
    assert tokens.tolist() == [7, 8, 9, 4]
    assert offsets.tolist() == [0, 3, 4]
    assert (tokens.dtype, offsets.dtype, ids.dtype) == (np.int32, np.int64, np.int64)
    assert batch.is_ragged
    assert not Batch.of([[1], [2]]).is_ragged


@pytest.mark.parametrize("sequences", [[], [[1], []]])
def test_batch_without_tokens_is_refused(sequences: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Batch.of(sequences)


def test_rows_of_padding_are_dropped_and_others_kept() -> None:
    batch = Batch.of([[7, 8, 9], [4]])
    rows = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    assert batch.without_padding(rows).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    ragged = np.ones((4, 2), np.float32)
    assert batch.without_padding(ragged) is ragged


def test_cosine_refuses_answers_of_another_shape() -> None:
    ones = np.ones((2, 3), np.float32)
    assert cosine(ones, 2 * ones) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 2\)"):
        cosine(ones, ones.T)


def test_an_encoder_that_pools_answers_with_its_embedding() -> None:
    torch = pytest.importorskip("torch")
    row = torch.ones(1, 4)
    assert answer_of({"embedding": row}) is row
    assert answer_of({"embedding": row, "last_hidden_state": row + 1}).max() == 2


def test_interrupted_conversion_is_made_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "x", fail)
    assert not (tmp_path / "x").exists()
    made = kept(tmp_path / "x", lambda folder: (folder / "whole").touch())
    assert [path.name for path in made.iterdir()] == ["whole"]
    assert kept(tmp_path / "x", fail) == made  # not made twice


def test_families_and_names_choose_engines_once() -> None:
    assert chosen(["torch", "torch_fp32"]) == list(FAMILIES["torch"])
    assert len({engine.name for engine in ENGINES}) == len(ENGINES)
    with pytest.raises(ValueError, match="unknown contestant 'keras'"):
        chosen(["keras"])


def test_artefact_has_no_torch_form(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "fastformers.json").write_text("{}")
    source = FolderSource(tmp_path, tmp_path / "work")
    assert source.artefact == tmp_path
    with pytest.raises(FormatError, match="no float32 torch model"):
        source.torch_model()


def saved_form(model_folder: Path, folder: Path, change: Callable[[Any], object]) -> FolderSource:
    """A source of the model as fastformers saves it after a change."""
    import fastformers as ff

    model = FolderSource(model_folder, folder.parent / "work").torch_model()
    change(model)
    ff.save_pretrained(model, folder)
    return FolderSource(folder, folder.parent / "work")


def test_pruned_model_is_compared_as_the_torch_model_it_is(model_folder: Path, tmp_path: Path) -> None:
    import fastformers as ff

    keep = ff.PruneConfig(heads=2, ffn=32, scores="magnitude")
    source = saved_form(model_folder, tmp_path / "pruned", lambda model: ff.prune_(model, keep))
    assert source.artefact is None
    assert source.torch_model().bert.encoder.layer[0].intermediate.dense.out_features == 32


def test_model_with_int8_layers_has_no_torch_form_and_says_what_to_compare(
    model_folder: Path, tmp_path: Path
) -> None:
    import fastformers as ff

    int8 = ff.Int8Config(never_slower=False, equalize=False)
    source = saved_form(model_folder, tmp_path / "int8", lambda model: ff.quantize_(model, int8))
    with pytest.raises(FormatError, match=r"no float32 torch model: compile it \(fastformers compile\)"):
        source.torch_model()


def test_worker_refuses_commands_out_of_order(tmp_path: Path) -> None:
    worker = EncoderWorker(REFERENCE, 1, lambda name, workspace: FolderSource(Path(name), workspace))
    with pytest.raises(RuntimeError, match="prepare before open"):
        worker.prepare([[1]], str(tmp_path / "a.npy"))
    with pytest.raises(RuntimeError, match="block before prepare"):
        worker.block(0.01)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=64,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        num_labels=8,
        max_position_embeddings=32,
        initializer_range=0.125,
        architectures=["BertForSequenceClassification"],
    )
    folder = tmp_path_factory.mktemp("model")
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def expected(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    import torch

    model = FolderSource(model_folder, tmp_path_factory.mktemp("work")).torch_model()
    answers = {}
    with torch.no_grad():
        for name, sequences in BATCHES.items():
            rows = [answer_of(model(input_ids=torch.tensor([ids])))[0] for ids in sequences]
            answers[name] = torch.stack(rows).numpy()
    return answers


# Engines that need a tokenizer for calibration, or a minute for each shape, run in the grid, not here.
TESTED = [
    engine
    for engine in ENGINES
    if engine.name not in ("openvino_int8_calibrated", "torch_compile")
    and not engine.name.startswith("fastformers")
]


@pytest.mark.slow
@pytest.mark.parametrize("engine", TESTED, ids=lambda engine: engine.name)
def test_engine_answers_as_torch_does(
    engine: Contestant, model_folder: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    if engine.missing():
        pytest.skip(engine.missing())
    core = min(os.sched_getaffinity(0))
    least = LEAST_COSINE["float32" if engine.name.endswith("fp32") else "int8"]
    with ContestantProcess(engine, MODULE, 1, [core], arguments=[f"{MODULE}:open_folder"]) as process:
        process.ask("open", model=str(model_folder), workspace=str(tmp_path / "work"))
        for name, sequences in BATCHES.items():
            path = tmp_path / "answers.npy"
            process.ask("prepare", sequences=sequences, answers=str(path))
            assert cosine(np.load(path), expected[name]) > least, name
        assert process.ask("block", seconds=0.002)["seconds"] > 0
