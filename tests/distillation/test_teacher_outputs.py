# SPDX-License-Identifier: MIT
"""The teacher's logits, fresh or kept, are its own; kept ones of another teacher or other data are never used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fastformers import Int8Config, load_pretrained_torch, quantize_, save_pretrained
from fastformers.distillation import teacher_digest, teacher_logits
from fastformers.errors import NonFiniteError, ShapeError
from fastformers.tasks import EncodedExamples, predict_logits

Build = Callable[..., nn.Module]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one entry each time a teacher is really run."""
    found: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        found.append(1)
        return predict_logits(*arguments, **options)

    monkeypatch.setattr("fastformers.distillation.teacher_outputs.predict_logits", counted)
    return found


def test_logits_are_the_teachers_own_for_each_example(build: Build, encoded: EncodedExamples) -> None:
    teacher = build(dropout=0.5).train()
    logits = teacher_logits(teacher, encoded, batch_size=5)
    teacher.eval()
    for feature, row in zip(encoded, logits, strict=True):
        expected = teacher(torch.tensor([feature["input_ids"]])).logits[0]
        # In a batch torch sums the same float32 products in another order: 1.5e-7 of logits up to 0.5 when measured.
        torch.testing.assert_close(row, expected.detach(), atol=2e-6, rtol=0)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad


def test_kept_logits_equal_fresh_ones_to_the_last_bit(
    build: Build, encoded: EncodedExamples, tmp_path: Path, calls: list[int]
) -> None:
    fresh = teacher_logits(build(), encoded)
    first = teacher_logits(build(), encoded, cache_dir=tmp_path / "kept")
    second = teacher_logits(build(), encoded, cache_dir=tmp_path / "kept")
    assert len(calls) == 2
    assert torch.equal(first, fresh)
    assert torch.equal(second, fresh)


def scaled(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(model.parameters())[5, 0] += 1e-3
    return model


def with_relu(model: Any) -> nn.Module:
    model.config.hidden_act = "relu"
    for layer in model.bert.encoder.layer:
        layer.intermediate.intermediate_act_fn = nn.ReLU()
    changed: nn.Module = model
    return changed


def with_relu_in_its_modules_alone(model: Any) -> nn.Module:
    for layer in model.bert.encoder.layer:
        layer.intermediate.intermediate_act_fn = nn.ReLU()
    changed: nn.Module = model
    return changed


def with_another_epsilon(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 0.5
    return model


@pytest.mark.parametrize("change", [scaled, with_relu, with_relu_in_its_modules_alone, with_another_epsilon])
def test_a_changed_teacher_is_run_again(
    change: Callable[[nn.Module], nn.Module],
    build: Build,
    encoded: EncodedExamples,
    tmp_path: Path,
    calls: list[int],
) -> None:
    teacher_logits(build(), encoded, cache_dir=tmp_path)
    teacher = change(build())
    assert torch.equal(teacher_logits(teacher, encoded, cache_dir=tmp_path), teacher_logits(teacher, encoded))
    assert len(calls) == 3


def test_other_data_is_run_again(
    build: Build, encoded: EncodedExamples, tmp_path: Path, calls: list[int]
) -> None:
    teacher_logits(build(), encoded, cache_dir=tmp_path)
    teacher_logits(build(), encoded.subset(range(11)), cache_dir=tmp_path)
    teacher_logits(build(), encoded.subset([1, 0, *range(2, 12)]), cache_dir=tmp_path)
    assert len(calls) == 3
    assert len(list(tmp_path.iterdir())) == 3


def cut(content: bytes) -> bytes:
    return content[:-7]


def emptied(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    """One bit of a logit: still a valid file."""
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


def overgrown(content: bytes) -> bytes:
    return content + bytes(1 << 16)


@pytest.mark.parametrize("damage", [cut, emptied, flipped, overgrown])
def test_a_damaged_file_is_computed_again_with_a_warning(
    damage: Callable[[bytes], bytes],
    build: Build,
    encoded: EncodedExamples,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fresh = teacher_logits(build(), encoded, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(teacher_logits(build(), encoded, cache_dir=tmp_path), fresh)
    assert "run again" in caplog.text
    assert path.read_bytes() == whole


def test_a_file_of_another_teacher_under_this_ones_name_is_not_believed(
    build: Build, encoded: EncodedExamples, tmp_path: Path
) -> None:
    fresh = teacher_logits(build(), encoded, cache_dir=tmp_path / "one")
    teacher_logits(build(seed=1), encoded, cache_dir=tmp_path / "other")
    (path,), (other,) = (tmp_path / "one").iterdir(), (tmp_path / "other").iterdir()
    path.write_bytes(other.read_bytes())
    assert torch.equal(teacher_logits(build(), encoded, cache_dir=tmp_path / "one"), fresh)


def test_a_teacher_saved_loaded_and_run_has_the_same_digest(
    build: Build, family: str, encoded: EncodedExamples, tmp_path: Path
) -> None:
    teacher: Any = build(family)
    digest = teacher_digest(teacher)
    save_pretrained(teacher, tmp_path / "ours")
    teacher.save_pretrained(tmp_path / "stock")
    ours = load_pretrained_torch(tmp_path / "ours")
    stock = type(teacher).from_pretrained(tmp_path / "stock").train()
    teacher_logits(ours, encoded)
    assert [teacher_digest(model) for model in (ours, stock)] == [digest, digest]


def test_a_quantized_teacher_saved_and_loaded_has_the_same_digest(build: Build, tmp_path: Path) -> None:
    teacher = build()
    quantize_(teacher, Int8Config(never_slower=False, equalize=False))
    save_pretrained(teacher, tmp_path / "int8")
    assert teacher_digest(load_pretrained_torch(tmp_path / "int8")) == teacher_digest(teacher)


def test_a_quantized_teacher_has_a_digest_of_its_own(build: Build) -> None:
    teachers = [build(), build(), build(seed=1)]
    for teacher in teachers[1:]:
        quantize_(teacher, Int8Config(never_slower=False, equalize=False))
    assert len({teacher_digest(teacher) for teacher in teachers}) == 3


def test_a_teacher_with_one_range_for_each_tensor_has_a_digest_of_its_own(build: Build) -> None:
    teachers = [build(), build()]
    for teacher, activation in zip(teachers, ("per_token", "per_tensor"), strict=True):
        quantize_(teacher, Int8Config(never_slower=False, equalize=False, activation=activation))
    assert teacher_digest(teachers[0]) != teacher_digest(teachers[1])


def test_a_model_that_shows_no_state_is_never_kept(
    build: Build, encoded: EncodedExamples, tmp_path: Path
) -> None:
    class Compiled(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.hidden = [model]

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.hidden[0](input_ids, attention_mask)

    for seed in (0, 1):
        teacher = build(seed=seed)
        found = teacher_logits(Compiled(teacher), encoded, cache_dir=tmp_path)
        assert torch.equal(found, teacher_logits(teacher, encoded))
    assert not list(tmp_path.iterdir())


def test_a_teacher_that_gives_nan_is_refused_and_the_example_named(
    build: Build, encoded: EncodedExamples, tmp_path: Path
) -> None:
    teacher: Any = build()
    with torch.no_grad():
        teacher.bert.embeddings.word_embeddings.weight[encoded[3]["input_ids"][1]] = float("nan")
    with pytest.raises(NonFiniteError, match=r"example \d+ are \[nan"):
        teacher_logits(teacher, encoded, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_teacher_of_another_width_is_refused(build: Build, encoded: EncodedExamples) -> None:
    with pytest.raises(ShapeError, match=r"\[12, 2\].*\[12, 3\]"):
        teacher_logits(build(num_labels=2), encoded)
