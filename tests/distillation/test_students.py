# SPDX-License-Identifier: MIT
"""Students cut from teachers of every family hold the teacher's weights and can be rebuilt from their config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastformers import Int8Config, load_pretrained_torch, quantize_, save_pretrained
from fastformers.distillation import make_student
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules.encoder_names import parts_of
from fastformers.modules.layer_shapes import resize_, shapes_of
from fastformers.modules.span_classifier import SpanClassifier

Build = Callable[..., nn.Module]
IDS = torch.randint(4, 60, (3, 9), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(9) < torch.tensor([9, 4, 6])[:, None]).long()
#: Sums without their zero terms, which torch may add in another order: 4e-7 of logits up to 1.1 when measured.
WITHOUT_ZEROS: Any = {"atol": 5e-6, "rtol": 0}


def answers(model: nn.Module) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(input_ids=IDS, attention_mask=MASK).logits
    return logits


def rebuilt(model: Any) -> nn.Module:
    """The stock class of the model's own config with its weights: what transformers would load."""
    stock: nn.Module = type(model)(model.config).eval()
    stock.load_state_dict(model.state_dict())
    return stock


def test_a_student_with_all_layers_equals_its_teacher_and_shares_nothing_with_it(
    build: Build, family: str
) -> None:
    teacher = build(family)
    before = answers(teacher)
    student = make_student(teacher, range(4))
    assert torch.equal(answers(student), before)
    for parameter in student.parameters():
        parameter.data.zero_()
    assert torch.equal(answers(teacher), before)


def test_a_student_has_the_layers_chosen_and_transformers_can_rebuild_it(build: Build, family: str) -> None:
    teacher = build(family)
    student: Any = make_student(teacher, (0, 3))
    ours, theirs = parts_of(student).layers, parts_of(teacher).layers
    assert len(ours) == 2
    for one, other in zip(ours, (theirs[0], theirs[3]), strict=True):
        weights = other.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in one.state_dict().items())
    assert torch.equal(answers(rebuilt(student)), answers(student))
    assert student.config.num_hidden_layers == 2
    assert len(parts_of(teacher).layers) == teacher.config.num_hidden_layers == 4  # type: ignore[union-attr]


def test_dropped_layers_that_did_nothing_are_not_missed(build: Build) -> None:
    teacher = build("modernbert")  # whose norms come first: a layer of zeros passes its input on
    for index in (1, 2):
        for parameter in parts_of(teacher).layers[index].parameters():
            parameter.data.zero_()
    assert torch.equal(answers(make_student(teacher, (0, 3))), answers(teacher))


def test_the_activation_is_switched_in_modules_and_config(build: Build, family: str) -> None:
    teacher = build(family)
    student = make_student(teacher, activation="relu")
    block = parts_of(student).names.block
    activations = [layer.get_submodule(block.activation) for layer in parts_of(student).layers]
    assert all(activation(torch.tensor(-0.1)) == 0 for activation in activations)
    assert torch.equal(answers(rebuilt(student)), answers(student))
    assert not torch.allclose(answers(student), answers(teacher))


def test_ffn_units_that_were_zero_are_not_missed(build: Build, family: str) -> None:
    teacher = build(family)
    block = parts_of(teacher).names.block
    for layer in parts_of(teacher).layers:
        layer.get_submodule(block.down).weight.data[:, 40:] = 0.0  # type: ignore[operator,index,union-attr]
    student = make_student(teacher, intermediate=40)
    torch.testing.assert_close(answers(student), answers(teacher), **WITHOUT_ZEROS)
    assert torch.equal(answers(rebuilt(student)), answers(student))


def test_a_narrower_student_holds_the_first_units_of_every_weight(build: Build, family: str) -> None:
    teacher = build(family)
    student = make_student(teacher, (0, 2), hidden=16, heads=2, intermediate=24)
    assert torch.isfinite(answers(student)).all()
    assert torch.equal(answers(rebuilt(student)), answers(student))
    block = parts_of(teacher).names.block
    ours, theirs = parts_of(student), parts_of(teacher)
    words = theirs.names.embeddings.word
    table = ours.encoder.get_submodule(words).weight
    assert torch.equal(table, theirs.encoder.get_submodule(words).weight[:, : table.shape[1]])
    for one, index in zip(ours.layers, (0, 2), strict=True):
        other = theirs.layers[index]
        for path, parts in (
            (block.qkv[0], 3 if len(block.qkv) == 1 else 1),
            (block.up, 1 + theirs.names.gated),
        ):
            small: Any = one.get_submodule(path)
            large: Any = other.get_submodule(path)
            rows = small.out_features // parts
            for part in range(parts):
                start = part * large.out_features // parts
                expected = large.weight[start : start + rows, :16]
                assert torch.equal(small.weight[part * rows : (part + 1) * rows], expected)


def test_a_narrower_student_looks_only_at_the_units_it_kept(build: Build, family: str) -> None:
    teacher = build(family)
    student = make_student(teacher, hidden=16, intermediate=24)
    before = answers(student)
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if parameter.ndim == 1 and name.lower().endswith("norm.weight"):
                parameter[16:] += 1.0
    assert torch.equal(answers(make_student(teacher, hidden=16, intermediate=24)), before)


def test_span_classifiers_get_students_too(build: Build) -> None:
    encoder = build().bert
    teacher = SpanClassifier(encoder, num_spans=2, num_labels=3, dropout=0.1).eval()
    spans = torch.tensor([[[1, 3], [2, 4]]] * 3)
    inputs = {"input_ids": IDS, "attention_mask": MASK, "spans": spans}
    equal, small = make_student(teacher), make_student(teacher, (1, 3), hidden=16)
    assert torch.equal(equal(**inputs).logits, teacher(**inputs).logits)
    assert small(**inputs).logits.shape == (3, 3)
    head: Any = small.classifier
    assert torch.equal(head.weight[:, 16:], teacher.classifier.weight[:, 32:48])
    assert small.encoder.config is small.config


def test_a_student_of_a_student_is_fine(build: Build, family: str) -> None:
    teacher = build(family)
    twice = make_student(make_student(teacher, (0, 1, 3)), (0, 2))
    assert torch.equal(answers(twice), answers(make_student(teacher, (0, 3))))


@pytest.mark.parametrize("layers", [(), (0, 4), (-1, 2), (2, 0), (1, 1)])
def test_layers_that_do_not_exist_or_are_out_of_order_are_refused(
    layers: tuple[int, ...], build: Build
) -> None:
    with pytest.raises(ConfigError, match="layers from 0 to 3, each once, in ascending order"):
        make_student(build(), layers)


def test_the_first_layer_of_modernbert_has_to_stay(build: Build) -> None:
    with pytest.raises(UnsupportedModelError, match="keep layer 0"):
        make_student(build("modernbert"), (1, 3))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"hidden": 40}, "hidden is 40, must be from 1 to 32"),
        ({"hidden": 0}, "hidden is 0"),
        ({"intermediate": 65}, "intermediate is 65, must be from 1 to 64"),
        ({"hidden": 12}, "hidden is 12, must be a multiple of the teacher's head size, 8"),
        ({"heads": 5}, "heads is 5, must be from 1 to 4"),
        ({"heads": 0}, "heads is 0"),
        ({"activation": "sharp"}, "'sharp'"),
    ],
)
def test_widths_that_do_not_fit_are_refused(choice: dict[str, Any], message: str, build: Build) -> None:
    with pytest.raises(ConfigError, match=message):
        make_student(build(), **choice)


def test_heads_that_were_not_heard_are_not_missed(build: Build, family: str) -> None:
    teacher = build(family)
    block = parts_of(teacher).names.block
    for layer in parts_of(teacher).layers:
        layer.get_submodule(block.output).weight.data[:, 16:] = 0.0  # type: ignore[operator,index,union-attr]
    student = make_student(teacher, heads=2)
    assert {shape.heads for shape in shapes_of(student)} == {2}
    torch.testing.assert_close(answers(student), answers(teacher), **WITHOUT_ZEROS)


@pytest.mark.parametrize("choice", [{}, {"hidden": 16}, {"intermediate": 16}])
def test_a_student_with_one_kind_of_attention_is_saved_and_loaded(
    choice: dict[str, Any], build: Build, tmp_path: Path
) -> None:
    student = make_student(build("modernbert"), (0, 3), **choice)  # both of these see everything
    save_pretrained(student, tmp_path / "model")
    assert torch.equal(answers(load_pretrained_torch(tmp_path / "model")), answers(student))


@pytest.mark.parametrize(
    "choice", [{"heads": 2}, {"hidden": 16, "heads": 1}, {"hidden": 24, "intermediate": 8}]
)
def test_a_narrower_student_is_saved_and_loaded(
    choice: dict[str, int], build: Build, family: str, tmp_path: Path
) -> None:
    student = make_student(build(family), (0, 2), **choice)  # type: ignore[arg-type]
    save_pretrained(student, tmp_path / "student")
    loaded = load_pretrained_torch(tmp_path / "student")
    assert shapes_of(loaded) == shapes_of(student)
    assert torch.equal(answers(loaded), answers(student))


def unequal_layers(model: nn.Module) -> nn.Module:
    """Pruned to fewer neurons in its last two layers than in its first two."""
    shapes = [
        replace(shape, intermediate=20 if index > 1 else 50) for index, shape in enumerate(shapes_of(model))
    ]
    resize_(model, shapes)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.1)
    return model


def test_a_pruned_teacher_gives_students_too(build: Build, family: str) -> None:
    teacher = unequal_layers(build(family))
    assert torch.equal(answers(make_student(teacher, range(4))), answers(teacher))
    assert [shape.intermediate for shape in shapes_of(make_student(teacher, (0, 3)))] == [50, 20]
    small = make_student(teacher, (0, 3), hidden=16)
    assert [(shape.heads, shape.intermediate) for shape in shapes_of(small)] == [(2, 50), (2, 20)]
    assert torch.isfinite(answers(small)).all()
    with pytest.raises(ConfigError, match="intermediate is 40, must be from 1 to 20"):
        make_student(teacher, intermediate=40)
    assert {shape.intermediate for shape in shapes_of(make_student(teacher, (0, 1), intermediate=40))} == {40}


def test_int8_teachers_are_refused(build: Build) -> None:
    teacher = build()
    quantize_(teacher, Int8Config(never_slower=False, equalize=False))
    with pytest.raises(UnsupportedModelError, match="INT8"):
        make_student(teacher, (0, 1))
