# SPDX-License-Identifier: MIT
"""Scores are what their formulas say, computed another way; per example, whatever the batches are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import word_pieces
from torch import Tensor, nn

import fastformers as ff
from fastformers.errors import ConfigError
from fastformers.modules.encoder_names import parts_of
from fastformers.modules.layer_shapes import shapes_of
from fastformers.pruning.scores import LayerScores, score_units
from fastformers.tasks import Example, encode
from fastformers.tasks.custom import task_with_labels

Make = Callable[..., Any]
Batches = list[dict[str, Tensor]]


def scored(
    model: nn.Module, data: Any, scores: Any = "first_order", **options: Any
) -> tuple[LayerScores, ...]:
    return score_units(model, parts_of(model), ff.PruneConfig(scores=scores, **options), data).layers


#: Models are float64 here; two orders of summing differ by their roundings.
IN_FLOAT64 = 1e-9
#: ModernBERT rotates queries and keys in float32 whatever the model's dtype, and a batch rounds otherwise than a text.
ROTATED_IN_FLOAT32 = 1e-6
#: Central differences: the curvature over the step, and roundings divided by it.
OF_DIFFERENCES = 1e-4


def closest(found: tuple[LayerScores, ...], expected: tuple[LayerScores, ...], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.heads, other.heads, rtol=tolerance, atol=1e-9)
        torch.testing.assert_close(one.ffn, other.ffn, rtol=tolerance, atol=1e-9)


def by_finite_differences(model: Any, examples: Batches, step: float = 1e-5) -> tuple[LayerScores, ...]:
    """Each unit's output scaled up and down a little, one unit and one example at a time."""
    parts = parts_of(model)
    layers = []
    for layer, shape in zip(parts.layers, shapes_of(model), strict=True):
        block = parts.names.block
        output, down = (layer.get_submodule(path) for path in (block.output, block.down))
        up = layer.get_submodule(block.up)

        def slope(tensors: list[Tensor], example: dict[str, Tensor]) -> float:
            losses = []
            kept = [tensor.clone() for tensor in tensors]
            for factor in (1 + step, 1 - step):
                for tensor, before in zip(tensors, kept, strict=True):
                    tensor.copy_(before * factor)
                losses.append(float(model(**example).loss))
            for tensor, before in zip(tensors, kept, strict=True):
                tensor.copy_(before)
            return abs(losses[0] - losses[1]) / (2 * step)

        with torch.no_grad():
            heads = [
                sum(slope([output.weight[:, size : size + shape.head_size]], each) for each in examples)
                for size in range(0, shape.heads * shape.head_size, shape.head_size)
            ]
            ffn = []
            for unit in range(shape.intermediate):
                received = [up.weight[unit], *([] if up.bias is None else [up.bias[unit]])]
                terms = [slope(received, each) + slope([down.weight[:, unit]], each) for each in examples]
                ffn.append(sum(terms) / 2)
        layers.append(LayerScores(torch.tensor(heads).double(), torch.tensor(ffn).double()))
    return tuple(layers)


def test_first_order_scores_are_slopes_of_the_loss(make_model: Make, examples: Batches, family: str) -> None:
    model = make_model(family, num_hidden_layers=2).double()
    # ModernBERT rotates in float32 whatever the model's dtype: a small step would measure that.
    step, tolerance = (3e-3, 5e-3) if family == "modernbert" else (1e-5, OF_DIFFERENCES)
    closest(scored(model, examples[:3]), by_finite_differences(model, examples[:3], step), tolerance)


def by_weight_gradients(model: Any, examples: Batches) -> tuple[LayerScores, ...]:
    """The paper's formula for neurons, and the same for heads: weights times gradients, zeroed for each example."""
    totals = [LayerScores(torch.zeros(4).double(), torch.zeros(24).double()) for _ in range(3)]
    for example in examples:
        model.zero_grad()
        model(**example).loss.backward()
        for layer, total in zip(model.bert.encoder.layer, totals, strict=True):
            up, output = layer.intermediate.dense, layer.attention.output.dense
            total.ffn.add_(((up.weight * up.weight.grad).sum(1) + up.bias * up.bias.grad).detach().abs())
            total.heads.add_((output.weight * output.weight.grad).sum(0).view(4, 8).sum(1).detach().abs())
    model.zero_grad()
    return tuple(totals)


def test_with_relu_neurons_score_as_in_the_paper(make_model: Make, examples: Batches) -> None:
    model = make_model("bert", hidden_act="relu").double()
    closest(scored(model, examples), by_weight_gradients(model, examples), IN_FLOAT64)


@pytest.mark.parametrize("scores", ["first_order", "activation"])
def test_every_example_counts_alone_whatever_the_batches(
    make_model: Make, examples: Batches, together: Callable[..., Any], family: str, scores: Any
) -> None:
    model = make_model(family).double()
    alone = scored(model, examples, scores)
    closest(
        scored(model, [together(examples[:4]), together(examples[4:])], scores), alone, ROTATED_IN_FLOAT32
    )
    closest(scored(model, [together(examples)], scores), alone, ROTATED_IN_FLOAT32)


@pytest.mark.parametrize("scores", ["first_order", "activation"])
def test_feed_forward_networks_fed_in_parts_score_the_same(
    make_model: Make, examples: Batches, together: Callable[..., Any], scores: Any
) -> None:
    model = make_model("bert", chunk_size_feed_forward=1).double()
    whole = make_model("bert").double()
    batches = [together(examples[:2]), together(examples[2:])]
    closest(scored(model, batches, scores), scored(whole, batches, scores), IN_FLOAT64)
    assert {layer.chunk_size_feed_forward for layer in model.bert.encoder.layer} == {1}


@pytest.mark.parametrize("scores", ["first_order", "activation"])
def test_batches_without_a_row_for_each_example_are_refused(
    make_model: Make, examples: Batches, together: Callable[..., Any], scores: Any
) -> None:
    model, batch = make_model("bert"), together(examples)
    one_text = {"input_ids": torch.tensor([5, 6, 7]), "labels": torch.tensor(1)}
    for wrong, words in (
        (one_text, r"of shape \[examples, tokens\]; got one of shape \[3\]"),
        ({"input_ids": batch["input_ids"][:, None]}, r"got one of shape \[6, 1, "),
        ({**batch, "labels": batch["labels"][:1]}, r"labels of a batch has shape \[1\], and input_ids \[6, "),
        ({**batch, "labels": torch.tensor(1)}, r"labels of a batch has shape \[\]"),
    ):
        with pytest.raises(ConfigError, match=words):
            scored(model, [wrong], scores)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_of_any_whole_dtype_and_empty_batches_are_read(
    make_model: Make, examples: Batches, together: Callable[..., Any], dtype: torch.dtype
) -> None:
    model, batch = make_model("bert").double(), together(examples)
    narrow = {**batch, "labels": batch["labels"].to(dtype)}
    empty = {name: value[:0] for name, value in batch.items()}
    closest(scored(model, [empty, narrow, empty]), scored(model, [batch]), IN_FLOAT64)
    with pytest.raises(ConfigError, match="data holds no examples"):
        scored(model, [empty])


def test_gradients_of_opposite_sign_do_not_cancel(make_model: Make, examples: Batches) -> None:
    model = make_model("bert").double()
    one = examples[0]
    both = [{**one, "labels": torch.tensor([label])} for label in (0, 1)]
    separate = [scored(model, [each]) for each in both]
    expected = tuple(LayerScores(a.heads + b.heads, a.ffn + b.ffn) for a, b in zip(*separate, strict=True))
    closest(scored(model, both), expected, IN_FLOAT64)


def test_regression_and_token_labels_have_losses_too(
    make_model: Make, examples: Batches, together: Callable[..., Any]
) -> None:
    numbers = [{**each, "labels": torch.tensor([0.5 * place])} for place, each in enumerate(examples)]
    model = make_model("bert", num_labels=1).double()
    doubled = [{**each, "labels": each["labels"].double()} for each in numbers]
    closest(scored(model, [together(numbers)]), by_finite_differences(model, doubled), OF_DIFFERENCES)
    tokens = [{**each, "labels": each["input_ids"] % 3} for each in examples[:2]]
    tagger = make_model("bert", "AutoModelForTokenClassification").double()
    closest(scored(tagger, tokens), by_finite_differences(tagger, tokens), OF_DIFFERENCES)


def test_activation_scores_of_neurons_are_what_they_add(
    make_model: Make, examples: Batches, together: Callable[..., Any]
) -> None:
    model = make_model("bert").double()
    layer = model.bert.encoder.layer[0]
    seen: list[Tensor] = []
    handle = layer.output.dense.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    with torch.no_grad():
        for example in examples:
            model(**example)
    handle.remove()
    added = torch.cat(seen)[:, :, None] * layer.output.dense.weight.T  # tokens, neurons, hidden
    found = scored(model, [together(examples)], "activation")[0].ffn
    torch.testing.assert_close(found, added.square().sum(2).mean(0).sqrt().detach())


def test_magnitudes_are_lengths_of_weights(make_model: Make) -> None:
    model = make_model("modernbert", attention_bias=True, mlp_bias=True)
    layer = model.model.layers[1]
    found = scored(model, None, "magnitude")[1]
    rows = [block * 32 + 8 + place for block in range(3) for place in range(8)]
    head = [layer.attn.Wqkv.weight[rows], layer.attn.Wqkv.bias[rows], layer.attn.Wo.weight[:, 8:16]]
    neuron = [layer.mlp.Wi.weight[[5, 29]], layer.mlp.Wi.bias[[5, 29]], layer.mlp.Wo.weight[:, 5]]
    for score, weights in ((found.heads[1], head), (found.ffn[5], neuron)):
        length = sum(float(each.detach().double().square().sum()) for each in weights) ** 0.5
        assert float(score) == pytest.approx(length, rel=IN_FLOAT64)


def test_random_scores_are_of_the_seed(make_model: Make) -> None:
    model = make_model("bert")
    one, same, other = (scored(model, None, "random", seed=seed)[0].heads for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_no_more_examples_are_read_than_asked(
    make_model: Make, examples: Batches, together: Callable[..., Any]
) -> None:
    model = make_model("bert").double()
    first = scored(model, examples[:4])
    closest(scored(model, [together(examples)], max_examples=4), first, IN_FLOAT64)
    closest(scored(model, iter(examples), max_examples=4), first, IN_FLOAT64)


def test_labels_in_another_order_than_the_classes_are_refused(make_model: Make) -> None:
    tokenizer = word_pieces(["a", "b"])
    task = task_with_labels(("bad", "good", "so"))
    encoded = encode(
        [Example(str(place), "a b", label=place) for place in range(3)], tokenizer, task, max_length=8
    )
    model = make_model("bert", id2label={0: "so", 1: "bad", 2: "good"})
    with pytest.raises(
        ConfigError, match=r"the model's classes are so, bad, good, .* custom are bad, good, so"
    ):
        scored(model, encoded)
    assert len(scored(model, encoded, "activation")) == len(parts_of(model).layers)
    assert len(scored(make_model("bert"), encoded)) == len(parts_of(model).layers)  # classes without names
