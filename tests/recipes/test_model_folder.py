# SPDX-License-Identifier: MIT
"""Every kind of model folder opens the same way, with its task, and gives the model that was saved."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_checkpoint, word_pieces
from torch import nn
from transformers import AutoTokenizer

import fastformers as ff
from fastformers.errors import ConfigError, FormatError
from fastformers.recipes.model_folder import open_for_task, open_model, save_model
from fastformers.tasks import TaskFile, build_model, get_task

TASK = TaskFile(get_task("rte"), max_length=16)
WORDS = "the cat sat on a mat"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return word_pieces(sorted(set(WORDS.split())))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A tiny BERT without a head, as transformers saves it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    return save_checkpoint(folder, tokenizer, hidden_size=16, num_attention_heads=2, intermediate_size=24)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> nn.Module:
    return build_model(TASK.task, checkpoint)


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**tokenizer([WORDS, "the mat"], padding=True, return_tensors="pt")).logits
    return found


def test_a_saved_model_comes_back_with_its_task(tmp_path: Path, model: nn.Module, tokenizer: Any) -> None:
    save_model(model, tmp_path / "out", tokenizer, TASK, extra={"log.json": {"steps": 3}})
    opened = open_model(tmp_path / "out")
    assert opened.required_task() == TASK
    assert json.loads((tmp_path / "out" / "log.json").read_text()) == {"steps": 3}
    assert torch.equal(logits(opened.model, opened.tokenizer), logits(model, tokenizer))


def test_who_opens_the_tokenizer_alone_cuts_texts_as_the_model_was_trained(
    tmp_path: Path, model: nn.Module, tokenizer: Any
) -> None:
    before = tokenizer.model_max_length
    save_model(model, tmp_path / "out", tokenizer, TASK)
    opened = AutoTokenizer.from_pretrained(tmp_path / "out")
    ff.save_pretrained(ff.compile(tmp_path / "out"), tmp_path / "fast", opened)
    with ff.Engine.from_pretrained(tmp_path / "fast") as engine:
        assert engine.max_length == TASK.max_length
    assert tokenizer.model_max_length == before


def test_a_model_saved_in_half_is_opened_in_float32_to_be_trained(
    tmp_path: Path, model: nn.Module, tokenizer: Any
) -> None:
    halved = copy.deepcopy(model).bfloat16()
    save_model(halved, tmp_path / "out", tokenizer, TASK)
    opened: Any = open_for_task(tmp_path / "out", TASK.task, seed=0).model
    assert {parameter.dtype for parameter in opened.parameters()} == {torch.float32}
    assert opened.config.dtype == torch.float32
    for one, other in zip(opened.parameters(), halved.parameters(), strict=True):
        assert torch.equal(one, other.float())


def test_a_compiled_model_comes_back_with_its_task(tmp_path: Path, model: nn.Module, tokenizer: Any) -> None:
    fast = ff.compile(model, tokenizer=tokenizer, texts=[WORDS] * 8)
    save_model(fast, tmp_path / "fast", tokenizer, TASK)
    opened = open_model(tmp_path / "fast")
    assert opened.required_task() == TASK
    assert isinstance(opened.model, ff.Encoder)
    assert torch.equal(logits(opened.model, opened.tokenizer), logits(fast, tokenizer))


def test_a_folder_of_transformers_opens_as_the_class_it_names(checkpoint: Path) -> None:
    opened = open_model(checkpoint)
    assert type(opened.model).__name__ == "BertModel"
    with pytest.raises(ConfigError, match=r"no task\.json"):
        opened.required_task()


def test_a_folder_of_transformers_with_a_task_gets_its_head(
    tmp_path: Path, model: Any, tokenizer: Any
) -> None:
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    TASK.save(tmp_path)
    opened = open_model(tmp_path)
    assert torch.equal(logits(opened.model, opened.tokenizer), logits(model, tokenizer))


def test_what_holds_no_model_is_refused(tmp_path: Path, model: nn.Module, tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        open_model(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"no config\.json"):
        open_model(tmp_path)
    save_model(model, tmp_path / "out", tokenizer, TASK)
    (tmp_path / "out" / "task.json").write_text('{"task": "rte"}')
    with pytest.raises(FormatError, match=r"task\.json"):
        open_model(tmp_path / "out")
    (tmp_path / "out" / "fastformers.json").write_text('{"format": "other"}')
    (tmp_path / "out" / "task.json").unlink()
    with pytest.raises(FormatError, match="format"):
        open_model(tmp_path / "out")


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path, model: nn.Module) -> None:
    ff.save_pretrained(model, tmp_path / "out")
    with pytest.raises(FormatError, match="no tokenizer"):
        open_model(tmp_path / "out")


def test_weights_that_a_checkpoint_lacks_are_named_in_one_line(
    tmp_path: Path, tiny_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "claims-a-head"))
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (folder / "config.json").write_text(json.dumps(config))
    open_model(folder)
    assert "lacks classifier.bias (2 such): drawn at random" in caplog.text
    caplog.clear()
    open_model(tiny_checkpoint)
    assert caplog.text == ""


def test_a_checkpoint_is_opened_once_to_be_trained(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    loads: list[str] = []
    load = transformers.PreTrainedModel.from_pretrained.__func__

    def counting(cls: Any, *arguments: Any, **options: Any) -> Any:
        loads.append(cls.__name__)
        return load(cls, *arguments, **options)

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", classmethod(counting))
    opened = open_for_task(tiny_checkpoint, TASK.task, seed=1)
    assert loads == ["BertForSequenceClassification"]
    assert len(opened.tokenizer) > 4


def test_a_model_of_ours_is_trained_further_only_for_its_own_task(
    tmp_path: Path, model: Any, tokenizer: Any
) -> None:
    save_model(model, tmp_path / "out", tokenizer, TASK)
    with pytest.raises(ConfigError, match=r"holds a model for rte .*; it is to answer cb \("):
        open_for_task(tmp_path / "out", get_task("cb"), seed=1)
    with pytest.raises(ConfigError, match="activation is 'relu'"):
        open_for_task(tmp_path / "out", TASK.task, seed=1, activation="relu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("task", [None, TASK])
def test_a_checkpoint_in_half_opens_in_float32(
    tmp_path: Path, checkpoint: Path, tokenizer: Any, dtype: torch.dtype, task: TaskFile | None
) -> None:
    transformers = pytest.importorskip("transformers")
    kind = transformers.AutoModel if task is None else transformers.AutoModelForSequenceClassification
    half = kind.from_pretrained(checkpoint).to(dtype)
    half.save_pretrained(tmp_path / "half")
    tokenizer.save_pretrained(tmp_path / "half")
    if task is not None:
        (tmp_path / "half" / "task.json").write_text(json.dumps(task.to_dict()))
    opened = open_model(tmp_path / "half").model
    assert {weight.dtype for weight in opened.parameters()} == {torch.float32}
    values = dict(opened.named_parameters())
    for name, weight in half.named_parameters():
        assert torch.equal(values[name if name in values else f"bert.{name}"], weight.float())
    ff.save_pretrained(ff.compile(opened, ff.CompileConfig(int8=None)), tmp_path / "fast")
    assert json.loads((tmp_path / "fast" / "config.json").read_text())["dtype"] == "float32"
