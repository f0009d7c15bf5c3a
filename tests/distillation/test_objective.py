# SPDX-License-Identifier: MIT
"""The loss of a training step: its parts, its weights, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastformers import compile
from fastformers.config import CompileConfig, DistillConfig, TrainConfig
from fastformers.distillation import DistillObjective, make_student, teacher_logits
from fastformers.distillation.losses import (
    attention_loss,
    cosine_loss,
    mse_loss,
    relation_loss,
    score_loss,
    soft_loss,
)
from fastformers.distillation.token_types import TokenTypes
from fastformers.errors import ConfigError, ShapeError, UnsupportedModelError
from fastformers.tasks import Collator, EncodedExamples, Example, encode
from fastformers.tasks.custom import task_with_labels

Build = Callable[..., nn.Module]
ROWS = [0, 5, 7, 2]
#: The same float32 sums in another order: padded or not, row by row or as a batch; 8e-7 when measured.
IN_FLOAT32 = 1e-5
#: What is left of a zero: one less a cosine, or the logarithm of a quotient, that float32 rounds beside 1.
NOTHING = 1e-6
#: Losses of tokens, each alone.
TOKEN_LOSSES = {
    "embeddings": DistillConfig(embeddings=1.0),
    "hidden-mse": DistillConfig(hidden_states=1.0),
    "hidden-cosine": DistillConfig(hidden_states=1.0, hidden_distance="cosine"),
    "probabilities": DistillConfig(attention=1.0, attention_kind="probabilities"),
    "relations": DistillConfig(attention=1.0),
}


@pytest.fixture(params=sorted(TOKEN_LOSSES))
def token_config(request: pytest.FixtureRequest) -> DistillConfig:
    return TOKEN_LOSSES[request.param]


def batch_of(encoded: EncodedExamples, rows: list[int], fixed_length: int | None = None) -> dict[str, Tensor]:
    batch = Collator(encoded.tokenizer, fixed_length)([encoded[row] for row in rows])
    return {**batch, "example": torch.tensor(rows)}


def objective_of(
    student: nn.Module, teacher: nn.Module, encoded: EncodedExamples, config: DistillConfig
) -> DistillObjective:
    return DistillObjective(student, teacher, encoded, teacher_logits(teacher, encoded), config)


def of_tokens(student: Any, teacher: Any, encoded: EncodedExamples, config: DistillConfig) -> Tensor:
    """The loss of tokens alone: what the config adds to the soft loss."""
    batch = batch_of(encoded, ROWS)
    whole = objective_of(student, teacher, encoded, config)(student, batch)
    return whole - objective_of(student, teacher, encoded, DistillConfig())(student, batch)


def test_by_default_the_loss_is_the_mean_soft_loss_of_the_examples_of_the_batch(
    build: Build, encoded: EncodedExamples
) -> None:
    student, teacher = build(seed=1), build()
    logits = teacher_logits(teacher, encoded)
    loss = objective_of(student, teacher, encoded, DistillConfig(temperature=2.0))(
        student, batch_of(encoded, ROWS)
    )
    rows = [
        soft_loss(student(torch.tensor([encoded[row]["input_ids"]])).logits, logits[row : row + 1], 2.0)
        for row in ROWS
    ]
    torch.testing.assert_close(loss, torch.cat(rows).mean())


def test_hard_labels_take_their_share(build: Build, encoded: EncodedExamples) -> None:
    student, teacher, batch = build(seed=1), build(), batch_of(encoded, ROWS)
    soft, mixed, hard = (
        objective_of(student, teacher, encoded, DistillConfig(hard_labels=share))(student, batch)
        for share in (0.0, 0.3, 1.0)
    )
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "example")}
    torch.testing.assert_close(
        hard, functional.cross_entropy(student(**inputs).logits, torch.tensor([row % 3 for row in ROWS]))
    )
    torch.testing.assert_close(mixed, 0.7 * soft + 0.3 * hard)


def test_examples_without_a_label_give_their_soft_loss_alone(
    build: Build, encoded: EncodedExamples, examples: list[Example], tokenizer: Any
) -> None:
    unlabelled = [
        replace(example, label=None) if index in (5, 2) else example for index, example in enumerate(examples)
    ]
    mixed = encode(unlabelled, tokenizer, encoded.task, max_length=16)
    student, teacher = build(seed=1), build()
    config = DistillConfig(hard_labels=0.4)
    found = objective_of(student, teacher, mixed, config)(student, batch_of(mixed, ROWS))
    parts = [
        objective_of(student, teacher, encoded, config if row in (0, 7) else DistillConfig())(
            student, batch_of(encoded, [row])
        )
        for row in ROWS
    ]
    torch.testing.assert_close(found, torch.stack(parts).mean())


def test_a_number_is_learned_by_squared_error(build: Build, examples: list[Example], tokenizer: Any) -> None:
    numbers = [replace(example, label=index / 2) for index, example in enumerate(examples)]
    encoded = encode(numbers, tokenizer, task_with_labels(()), max_length=16)
    student, teacher = build(seed=1, num_labels=1), build(num_labels=1)
    batch = batch_of(encoded, ROWS)
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "example")}
    soft, hard = (
        score_loss(student(**inputs).logits, target).mean()
        for target in (teacher_logits(teacher, encoded)[ROWS], batch["labels"][:, None])
    )
    loss = objective_of(student, teacher, encoded, DistillConfig(hard_labels=0.25))(student, batch)
    torch.testing.assert_close(loss, 0.75 * soft + 0.25 * hard)


def test_a_copy_of_the_teacher_loses_nothing_inside_and_its_soft_gradient_is_zero(
    build: Build, encoded: EncodedExamples, token_config: DistillConfig, family: str
) -> None:
    teacher = build(family)
    student = make_student(teacher)
    assert of_tokens(student, teacher, encoded, token_config).item() == pytest.approx(0.0, abs=NOTHING)
    objective_of(student, teacher, encoded, DistillConfig())(student, batch_of(encoded, ROWS)).backward()
    for name, parameter in student.named_parameters():
        assert parameter.grad is None or parameter.grad.abs().max() < 1e-5, name


def test_padding_changes_no_loss(
    build: Build, encoded: EncodedExamples, token_config: DistillConfig, family: str
) -> None:
    teacher = build(family)
    student = build(family, seed=1, num_hidden_layers=2)
    objective = objective_of(student, teacher, encoded, token_config)
    losses = [objective(student, batch_of(encoded, ROWS, length)).item() for length in (None, 12, 30)]
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=IN_FLOAT32)


def test_hidden_states_are_compared_layer_by_layer_as_the_map_says(
    build: Build, encoded: EncodedExamples
) -> None:
    student, teacher = build(seed=1, num_hidden_layers=2), build()
    batch = batch_of(encoded, ROWS)
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "example")}
    ours, theirs = (model(**inputs, output_hidden_states=True).hidden_states for model in (student, teacher))
    mask = batch["attention_mask"]
    expected = {
        "auto": (mse_loss(ours[1], theirs[2], mask) + mse_loss(ours[2], theirs[4], mask)) / 2,
        ((1, 0),): mse_loss(ours[2], theirs[1], mask),
    }
    for chosen, loss in expected.items():
        config = DistillConfig(hidden_states=1.0, layer_map=chosen)  # type: ignore[arg-type]
        torch.testing.assert_close(
            of_tokens(student, teacher, encoded, config), loss, rtol=IN_FLOAT32, atol=0
        )
    config = DistillConfig(embeddings=2.0, hidden_distance="cosine")
    torch.testing.assert_close(
        of_tokens(student, teacher, encoded, config),
        2.0 * cosine_loss(ours[0], theirs[0], mask),
        rtol=IN_FLOAT32,
        atol=0,
    )


def test_relations_are_those_of_queries_keys_and_values(build: Build, encoded: EncodedExamples) -> None:
    student: Any = build(seed=1, num_hidden_layers=1, hidden_size=16, num_attention_heads=2)
    teacher: Any = build()
    batch = batch_of(encoded, ROWS)
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "example")}
    terms = []
    states = [model(**inputs, output_hidden_states=True).hidden_states for model in (student, teacher)]
    ours, theirs = (model.bert.encoder.layer[-1].attention.self for model in (student, teacher))
    for name in ("query", "key", "value"):
        one, other = getattr(ours, name)(states[0][-2]), getattr(theirs, name)(states[1][-2])
        terms.append(relation_loss(one, other, batch["attention_mask"], 4))
    config = DistillConfig(attention=1.0)
    torch.testing.assert_close(
        of_tokens(student, teacher, encoded, config), torch.stack(terms).mean(), rtol=IN_FLOAT32, atol=0
    )


def test_probabilities_are_those_that_the_models_put_out(build: Build, encoded: EncodedExamples) -> None:
    student: Any = build(seed=1, num_hidden_layers=1)
    teacher: Any = build()
    found = of_tokens(student, teacher, encoded, DistillConfig(attention=1.0, attention_kind="probabilities"))
    assert (student.config._attn_implementation, teacher.config._attn_implementation) == ("sdpa", "sdpa")
    batch = batch_of(encoded, ROWS)
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "example")}
    attentions = []
    for model in (student, teacher):
        model.set_attn_implementation("eager")
        attentions.append(model(**inputs, output_attentions=True).attentions[-1])
    torch.testing.assert_close(
        found, attention_loss(*attentions, batch["attention_mask"]), rtol=IN_FLOAT32, atol=0
    )


@pytest.mark.parametrize(("hidden", "heads"), [(16, 2), (24, 3), (32, 8)])
def test_relations_and_projected_states_pass_between_any_widths_and_numbers_of_heads(
    build: Build, encoded: EncodedExamples, hidden: int, heads: int, family: str
) -> None:
    teacher = build()
    student = build(family, seed=1, hidden_size=hidden, num_attention_heads=heads, num_hidden_layers=3)
    config = DistillConfig(embeddings=1.0, hidden_states=1.0, attention=1.0)
    objective = objective_of(student, teacher, encoded, config)
    objective(student, batch_of(encoded, ROWS)).backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())
    assert sorted(objective.projections) == ([] if hidden == 32 else ["embeddings", "hidden_states"])


def test_projections_are_learned(build: Build, encoded: EncodedExamples) -> None:
    teacher, student = build(), build(seed=1, hidden_size=16, num_attention_heads=2)
    objective = objective_of(student, teacher, encoded, DistillConfig(hidden_states=1.0))
    batch = batch_of(encoded, ROWS)
    student.requires_grad_(False)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    losses = []
    for _ in range(40):
        loss = objective(student, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_projections_start_the_same_for_a_seed_and_leave_the_random_state_alone(
    build: Build, encoded: EncodedExamples
) -> None:
    teacher, student = build(), build(seed=1, hidden_size=16, num_attention_heads=2)
    found = []
    for seed in (3, 3, 4):
        config = DistillConfig(hidden_states=1.0, train=TrainConfig(seed=seed))
        before = torch.get_rng_state()
        objective = objective_of(student, teacher, encoded, config)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(next(objective.parameters()).detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_what_is_trained_and_saved_with_the_objective_is_the_projections_alone(
    build: Build, encoded: EncodedExamples
) -> None:
    teacher, student = build(), build(seed=1, hidden_size=16, num_attention_heads=2)
    objective = objective_of(student, teacher, encoded, DistillConfig(embeddings=1.0))
    assert set(objective.state_dict()) == {"projections.embeddings.weight"}
    assert len(list(objective.parameters())) == 1


def test_under_mixed_precision_the_losses_stay_float32(
    build: Build, encoded: EncodedExamples, token_config: DistillConfig
) -> None:
    teacher = build()
    student = build(seed=1, hidden_size=16, num_hidden_layers=2, intermediate_size=8)
    objective = objective_of(student, teacher, encoded, token_config)
    batch = batch_of(encoded, ROWS)
    exact = objective(student, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(student, batch)
    loss.backward()
    assert loss.dtype == torch.float32
    # bfloat16 rounds to 8 bits, 0.4 % each time, in every product of two layers.
    assert loss.item() == pytest.approx(exact.item(), rel=0.03)
    assert all(parameter.grad is not None for parameter in objective.parameters())


def hooked(model: nn.Module) -> list[str]:
    """Linear layers with hooks; transformers keeps its own on other modules."""
    linears = (each for each in model.named_modules() if isinstance(each[1], nn.Linear))
    return [name for name, linear in linears if linear._forward_hooks]


def test_the_teacher_gets_no_gradient_and_keeps_its_hooks_and_mode(
    build: Build, encoded: EncodedExamples
) -> None:
    teacher, student = build(dropout=0.5), build(seed=1).train()
    config = DistillConfig(hidden_states=1.0, attention=1.0)
    objective = objective_of(student, teacher, encoded, config)
    objective(student, batch_of(encoded, ROWS)).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any(module.training for module in teacher.modules())
    assert all(module.training for module in student.modules())
    assert not hooked(teacher)
    assert not hooked(student)


def test_hooks_are_gone_after_an_error(build: Build, encoded: EncodedExamples) -> None:
    teacher, student = build(), build(seed=1)
    objective = objective_of(student, teacher, encoded, DistillConfig(attention=1.0))
    batch = batch_of(encoded, ROWS)
    batch["input_ids"] = batch["input_ids"] + 1000
    with pytest.raises(IndexError):
        objective(student, batch)
    assert not hooked(student)


def test_a_teacher_left_in_training_mode_is_asked_without_dropout(
    build: Build, encoded: EncodedExamples
) -> None:
    teacher = build(dropout=0.5).train()
    student = make_student(teacher)
    config = DistillConfig(hidden_states=1.0)
    assert of_tokens(student, teacher, encoded, config).item() == pytest.approx(0.0, abs=NOTHING)


def test_probabilities_of_different_numbers_of_heads_are_refused(
    build: Build, encoded: EncodedExamples
) -> None:
    config = DistillConfig(attention=1.0, attention_kind="probabilities")
    with pytest.raises(ConfigError, match="has 8, layer 3 of the teacher 4; use attention_kind='relations'"):
        objective_of(build(num_attention_heads=8), build(), encoded, replace(config, layer_map=((2, 3),)))


def test_a_layer_map_that_does_not_fit_is_refused(build: Build, encoded: EncodedExamples) -> None:
    with pytest.raises(ConfigError, match="layers 0 to 3"):
        objective_of(build(), build(), encoded, DistillConfig(hidden_states=1.0, layer_map=((4, 0),)))


def test_logits_of_other_examples_are_refused(build: Build, encoded: EncodedExamples) -> None:
    with pytest.raises(ShapeError, match=r"\[11, 3\], must be \[12, 3\]"):
        DistillObjective(build(), build(), encoded, torch.zeros(11, 3), DistillConfig())


def test_tokens_of_a_family_that_is_not_known_are_refused(build: Build, encoded: EncodedExamples) -> None:
    with pytest.raises(UnsupportedModelError, match="of no family known"):
        DistillObjective(nn.Linear(2, 2), build(), encoded, torch.zeros(12, 3), DistillConfig(attention=1.0))


def test_a_compiled_teacher_is_said_to_show_only_logits(build: Build, encoded: EncodedExamples) -> None:
    compiled = compile(build(), CompileConfig(int8=None))
    with pytest.raises(UnsupportedModelError, match="the teacher is compiled and shows only its logits"):
        objective_of(build(), compiled, encoded, DistillConfig(hidden_states=1.0))


def test_the_description_tells_runs_apart_that_lose_differently(
    build: Build, encoded: EncodedExamples
) -> None:
    student = build(seed=1)
    found = [
        objective_of(student, build(seed=seed), encoded, config).describe()
        for seed, config in (
            (0, DistillConfig()),
            (2, DistillConfig()),
            (0, DistillConfig(temperature=2.0)),
            (0, DistillConfig(hidden_states=1.0, layer_map=((0, 1),))),
        )
    ]
    assert all(found.count(one) == 1 for one in found)
    assert objective_of(student, build(), encoded, DistillConfig()).describe() == found[0]


def test_a_teacher_reads_its_own_token_types(
    build: Build, tokenizer: Any, token_config: DistillConfig
) -> None:
    """DistilBERT's tokenizer gives none: the second text of a pair would be of the first type."""
    pairs = [Example(str(row), "the cat sat", "dog ran on mat"[: 7 + row], label=row % 3) for row in range(8)]
    task = task_with_labels(("bad", "good", "so"))
    theirs = encode(pairs, tokenizer, task, max_length=16)
    plain = deepcopy(tokenizer)
    plain.model_input_names = ["input_ids", "attention_mask"]
    ours = encode(pairs, plain, task, max_length=16)
    assert "token_type_ids" in theirs[0]
    assert "token_type_ids" not in ours[0]
    student, teacher = build("distilbert", seed=1), build()
    logits, seen = teacher_logits(teacher, theirs), []
    teacher.bert.embeddings.register_forward_pre_hook(
        lambda _, args, named: seen.append(named["token_type_ids"]), with_kwargs=True
    )
    losses = [
        DistillObjective(student, teacher, ours, logits, token_config, given)(student, batch_of(ours, ROWS))
        for given in (theirs, None)
    ]
    assert losses[0] != losses[1]
    expected = batch_of(theirs, ROWS)["token_type_ids"]
    assert expected.any()
    assert torch.equal(seen[0], expected)


def test_a_teacher_without_token_types_is_not_given_its_students(build: Build, tokenizer: Any) -> None:
    pairs = [Example("0", "the cat", "dog ran", label=0)]
    plain = deepcopy(tokenizer)
    plain.model_input_names = ["input_ids", "attention_mask"]
    task = task_with_labels(("bad", "good", "so"))
    ours, theirs = (encode(pairs, each, task, max_length=16) for each in (tokenizer, plain))
    batch = batch_of(ours, [0])
    assert "token_type_ids" not in TokenTypes.of(ours, theirs).put_into(batch)
    assert TokenTypes.of(ours, ours).put_into(batch) is batch


def test_a_teacher_that_shows_no_state_is_known_by_its_logits(build: Build, encoded: EncodedExamples) -> None:
    """A run that was killed must not go on with another compiled teacher."""
    student, logits = build(seed=1), torch.zeros(len(encoded), 3)
    described = [
        DistillObjective(student, nn.Identity(), encoded, given, DistillConfig()).describe()["teacher"]
        for given in (logits, logits.clone(), logits + 1)
    ]
    assert described[0] == described[1] != described[2]
