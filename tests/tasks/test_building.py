# SPDX-License-Identifier: MIT
"""Models for tasks from checkpoints: heads of the right width, and no encoder filled with random numbers unsaid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fastformers.errors import ConfigError, FormatError, UnsupportedModelError
from fastformers.modules.pair_classifier import PairClassifier
from fastformers.modules.span_classifier import SpanClassifier
from fastformers.tasks import TASK_NAMES, build_model, get_task
from fastformers.tasks.custom import task_with_labels


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_task_gets_a_model_with_its_labels(name: str, checkpoint: Path) -> None:
    task = get_task(name)
    model = build_model(task, checkpoint)
    assert not model.training
    assert model.classifier.out_features == task.num_labels  # type: ignore[union-attr]
    assert model.config.id2label == dict(enumerate(task.labels or ("score",)))  # type: ignore[union-attr]
    assert isinstance(model, SpanClassifier) == (task.kind == "spans")


@pytest.mark.parametrize("name", ["copa-choices", "stsb"])
def test_a_head_of_ours_takes_the_special_tokens_from_the_tokenizer(name: str, checkpoint: Path) -> None:
    import transformers

    model = build_model(get_task(name), checkpoint, head="cosine")
    assert isinstance(model, PairClassifier)
    assert not model.training
    assert model.classifier.out_features == get_task(name).num_labels
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    assert model.config.pair_separator_token_id == tokenizer.sep_token_id
    assert model.config.pair_first_token_id == tokenizer.cls_token_id


@pytest.mark.parametrize(
    ("name", "head", "message"), [("wic", "cosine", "marks spans"), ("rte", "dot", "allowed: cosine")]
)
def test_a_head_that_does_not_fit_is_refused(name: str, head: Any, message: str, checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(get_task(name), checkpoint, head=head)


@pytest.mark.parametrize(
    ("name", "problem"), [("rte", "single_label_classification"), ("stsb", "regression")]
)
def test_the_config_says_which_loss_to_take(name: str, problem: str, checkpoint: Path) -> None:
    assert build_model(get_task(name), checkpoint).config.problem_type == problem  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["rte", "wic"])
def test_the_encoder_is_the_checkpoints_and_the_head_the_seeds(name: str, checkpoint: Path) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (build_model(get_task(name), checkpoint, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = load_file(checkpoint / "model.safetensors")
    prefix = "encoder." if name == "wic" else "bert."
    for key, tensor in weights.items():
        if not key.startswith("pooler") or name != "wic":
            assert torch.equal(one[prefix + key], tensor)
    assert torch.equal(one["classifier.weight"], same["classifier.weight"])
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def test_a_head_of_the_same_width_is_kept_and_one_of_another_made_anew(
    checkpoint: Path, tmp_path: Path
) -> None:
    trained: Any = build_model(get_task("rte"), checkpoint, seed=3)
    trained.save_pretrained(tmp_path)
    again = build_model(get_task("boolq"), tmp_path, seed=4).state_dict()
    assert torch.equal(again["classifier.weight"], trained.classifier.weight)
    assert build_model(get_task("cb"), tmp_path).classifier.out_features == 3  # type: ignore[union-attr]


def test_dropout_and_activation_are_set_everywhere(checkpoint: Path) -> None:
    model: Any = build_model(get_task("rte"), checkpoint, dropout=0.3, activation="relu")
    assert {each.p for each in model.modules() if isinstance(each, torch.nn.Dropout)} == {0.3}
    assert model.config.hidden_act == "relu"
    assert type(model.bert.encoder.layer[0].intermediate.intermediate_act_fn).__name__ == "ReLU"
    spans: Any = build_model(get_task("wic"), checkpoint, dropout=0.3)
    assert (spans.dropout.p, spans.config.span_dropout) == (0.3, 0.3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dropout": 1.0}, "dropout is 1.0, must be from 0 to below 1"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"activation": "rulu"}, "activation is 'rulu', which transformers does not know"),
    ],
)
def test_wrong_options_are_named(options: Any, words: str, checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        build_model(get_task("rte"), checkpoint, **options)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"holds no config\.json: it must be a folder that transformers saved"
    ):
        build_model(get_task("rte"), tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-type"}')
    with pytest.raises(FormatError, match=r"config\.json is refused by transformers"):
        build_model(get_task("rte"), tmp_path)


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["rte", "wic"])
def test_a_checkpoint_that_lacks_a_part_of_its_encoder_is_refused(name: str, copied: Path) -> None:
    file = copied / "model.safetensors"
    weights = load_file(file)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(UnsupportedModelError, match=r"lacks \S*encoder\.layer\.1\.output\.dense\.weight"):
        build_model(get_task(name), copied)


@pytest.mark.parametrize("name", ["rte", "wic"])
def test_a_checkpoint_of_other_shapes_than_its_config_is_refused(name: str, copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(
        UnsupportedModelError, match=r"has another shape of .*load with .*load_pretrained_torch"
    ):
        build_model(get_task(name), copied)


def test_a_damaged_checkpoint_is_named(copied: Path) -> None:
    (copied / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(FormatError, match="cannot be loaded by transformers"):
        build_model(get_task("rte"), copied)


def test_pickled_weights_are_never_read(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(FormatError, match="cannot be loaded by transformers"):
        build_model(get_task("rte"), copied)


@pytest.mark.parametrize("family", ["DistilBert", "Roberta", "Electra", "MPNet"])
def test_families_are_taken_by_their_own_names(family: str, tmp_path: Path) -> None:
    import transformers

    shape: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    }
    if family == "DistilBert":
        shape = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 48}
    config = getattr(transformers, f"{family}Config")(vocab_size=50, max_position_embeddings=40, **shape)
    getattr(transformers, f"{family}Model")(config).save_pretrained(tmp_path)
    model: Any = build_model(task_with_labels(("a", "b", "c")), tmp_path, dropout=0.0, activation="relu")
    assert {each.p for each in model.modules() if isinstance(each, torch.nn.Dropout)} == {0.0}
    assert model(torch.tensor([[5, 6, 7]])).logits.shape == (1, 3)
    spans: Any = build_model(get_task("wic"), tmp_path)
    assert spans(torch.tensor([[5, 6, 7]]), spans=torch.tensor([[[0, 1], [1, 3]]])).logits.shape == (1, 2)
