# SPDX-License-Identifier: MIT
"""What is taken out is what the scores say, what stays computes as before, and nothing is half-done."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastformers as ff
from fastformers.errors import ConfigError, NonFiniteError, UnsupportedModelError
from fastformers.modules.encoder_names import parts_of
from fastformers.modules.layer_shapes import LayerShape, shapes_of
from fastformers.modules.span_classifier import SpanClassifier

Make = Callable[..., Any]
Batches = list[dict[str, Tensor]]

HALF = ff.PruneConfig(heads=2, ffn=12)
SCORES = ["first_order", "magnitude", "activation"]
#: Sums without their zero terms, which torch may add in another order: 8e-7 of logits up to 3.6 when measured.
WITHOUT_ZEROS = 1e-5


def zero_units_(model: nn.Module, heads: tuple[int, ...], neurons: tuple[int, ...]) -> None:
    """Zeroes all weights and biases of units, in every layer."""
    parts = parts_of(model)
    block = parts.names.block
    with torch.no_grad():
        for layer, shape in zip(parts.layers, shapes_of(model), strict=True):
            channels = [head * shape.head_size + place for head in heads for place in range(shape.head_size)]
            width = shape.heads * shape.head_size
            for path in block.qkv:
                blocks = 3 if len(block.qkv) == 1 else 1
                zero_rows_(
                    layer.get_submodule(path), [b * width + c for b in range(blocks) for c in channels]
                )
            layer.get_submodule(block.output).weight[:, channels] = 0
            blocks = 2 if parts.names.gated else 1
            rows = [b * shape.intermediate + n for b in range(blocks) for n in neurons]
            zero_rows_(layer.get_submodule(block.up), rows)
            layer.get_submodule(block.down).weight[:, list(neurons)] = 0


def zero_rows_(linear: Any, rows: list[int]) -> None:
    linear.weight[rows] = 0
    if linear.bias is not None:
        linear.bias[rows] = 0


@pytest.mark.parametrize("scores", SCORES)
def test_units_that_were_zero_are_found_and_their_removal_changes_nothing(
    make_model: Make,
    examples: Batches,
    logits_of: Callable[..., Tensor],
    family: str,
    scores: Any,
) -> None:
    model = make_model(family)
    zero_units_(model, heads=(0, 2), neurons=tuple(range(1, 24, 2)))
    before = logits_of(model, examples)
    report = ff.prune_(model, ff.PruneConfig(heads=2, ffn=12, scores=scores), examples)
    assert [layer.heads for layer in report.layers] == [(1, 3)] * 3
    assert shapes_of(model) == (LayerShape(heads=2, head_size=8, intermediate=12),) * 3
    torch.testing.assert_close(logits_of(model, examples), before, rtol=0, atol=WITHOUT_ZEROS)


def test_useless_units_with_large_weights_are_found_by_what_they_do(
    make_model: Make, examples: Batches, logits_of: Callable[..., Tensor]
) -> None:
    planted_heads, planted_neurons = (1, 2), (0, 5, 6, 7, 11, 23)

    def make() -> Any:
        model = make_model("bert", hidden_act="relu")
        for layer in model.bert.encoder.layer:
            with torch.no_grad():
                for head in planted_heads:
                    channels = slice(8 * head, 8 * head + 8)
                    layer.attention.self.value.weight[channels] = 0
                    layer.attention.self.value.bias[channels] = 0
                    layer.attention.self.query.weight[channels] *= 10
                layer.intermediate.dense.weight[list(planted_neurons)] *= 10
                layer.intermediate.dense.bias[list(planted_neurons)] = -1000
        return model

    model = make()
    before = logits_of(model, examples)
    for scores, finds in (("first_order", True), ("activation", True), ("magnitude", False)):
        model = make()
        report = ff.prune_(model, ff.PruneConfig(heads=2, ffn=18, scores=scores), examples)
        assert ({layer.heads for layer in report.layers} == {(0, 3)}) == finds
        assert torch.allclose(logits_of(model, examples), before, rtol=0, atol=WITHOUT_ZEROS) == finds


def test_a_pruned_model_is_pruned_again(
    make_model: Make, examples: Batches, logits_of: Callable[..., Tensor], family: str
) -> None:
    model = make_model(family)
    ff.prune_(model, ff.PruneConfig(heads=3, ffn=18), examples)
    zero_units_(model, heads=(1,), neurons=(0, 1, 2, 9, 17))
    before = logits_of(model, examples)
    report = ff.prune_(model, ff.PruneConfig(heads=2, ffn=13), examples)
    assert [layer.heads for layer in report.layers] == [(0, 2)] * 3
    torch.testing.assert_close(logits_of(model, examples), before, rtol=0, atol=WITHOUT_ZEROS)
    assert [shape.heads for shape in shapes_of(model)] == [2, 2, 2]


def test_what_stays_keeps_order_and_numbers(make_model: Make, examples: Batches) -> None:
    model = make_model("bert")
    layer = model.bert.encoder.layer[1]
    query, up = layer.attention.self.query.weight.clone(), layer.intermediate.dense.weight.clone()
    linear = layer.attention.self.query
    report = ff.prune_(model, HALF, examples)
    kept = report.layers[1].heads
    assert torch.equal(linear.weight, torch.cat([query[8 * head : 8 * head + 8] for head in kept]))
    assert layer.attention.self.query is linear
    rows = [int((up == row).all(1).nonzero()) for row in layer.intermediate.dense.weight]
    assert rows == sorted(rows)
    assert len(rows) == 12


def test_a_pruned_model_trains(make_model: Make, examples: Batches, family: str) -> None:
    model = make_model(family)
    ff.prune_(model, HALF, examples)

    def loss() -> Tensor:
        return torch.stack([model(**example).loss for example in examples]).sum()

    before = loss()
    optimizer = torch.optim.Adam(model.train().parameters(), lr=0.003)
    for _ in range(10):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    model.eval()
    assert loss() < before / 2


def test_heads_of_mpnet_go_together_and_the_report_says_so(make_model: Make, examples: Batches) -> None:
    model = make_model("mpnet")
    report = ff.prune_(model, ff.PruneConfig(heads=0.5, ffn=0.5), examples)
    assert len({layer.heads for layer in report.layers}) == 1
    assert model.mpnet.encoder.relative_attention_bias.weight.shape == (32, 2)
    assert "the same heads stay in all" in str(report)


def test_a_span_classifier_is_pruned(make_model: Make, examples: Batches) -> None:
    model = SpanClassifier(make_model("roberta", "AutoModel"), num_spans=2, num_labels=3, dropout=0.1).eval()
    marked = [{**example, "spans": torch.tensor([[[0, 1], [1, 3]]])} for example in examples]
    report = ff.prune_(model, HALF, marked)
    assert (report.family, report.examples) == ("RoBERTa", 6)
    assert model(**marked[0]).logits.shape == (1, 3)


def test_the_report_counts(make_model: Make, examples: Batches) -> None:
    model = make_model("bert")
    before = sum(parameter.numel() for parameter in model.parameters())
    report = ff.prune_(model, HALF, examples)
    assert report.parameters_before == before
    assert report.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert report.macs_before == 3 * (4 * 32 * 32 + 2 * 32 * 24)
    assert report.macs == report.macs_before / 2
    assert report.to_dict()["layers"][0]["ffn"] == 12
    assert "heads 4 -> 2, neurons 24 -> 12" in str(report)
    assert "50% of the work" in str(report)


def test_a_global_budget_is_kept(make_model: Make, examples: Batches) -> None:
    model = make_model("modernbert")
    report = ff.prune_(model, ff.PruneConfig(ranking="global", macs=0.6, ffn_multiple=4), examples)
    assert 0.5 < report.macs / report.macs_before <= 0.6
    assert report.macs == sum(shape.linear_macs(32, gated=True) for shape in shapes_of(model))
    assert all(shape.intermediate % 4 == 0 and shape.heads >= 1 for shape in shapes_of(model))
    with torch.no_grad():
        assert torch.isfinite(model(**examples[0]).logits).all()


class Untouched:
    """Fails when a model is not as it was."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def check(self) -> None:
        after = self._model.state_dict()
        assert after.keys() == self._before.keys()
        assert all(torch.equal(after[name], self._before[name]) for name in after)
        assert all(parameter.grad is None for parameter in self._model.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in own_modules(self._model))


def test_a_share_that_rounds_to_all_neurons_is_told(make_model: Make) -> None:
    config = ff.PruneConfig(heads=2, ffn=0.5, ffn_multiple=16, scores="magnitude")
    assert not ff.prune_(make_model("bert"), config).notes
    (note,) = ff.prune_(make_model("bert"), replace(config, ffn_multiple=64)).notes
    assert "all neurons stayed: ffn=0.5, rounded to a multiple of ffn_multiple=64" in note


def own_modules(model: nn.Module) -> list[nn.Module]:
    return [m for layer in parts_of(model).layers for m in layer.modules() if isinstance(m, nn.Linear)]


def without(batches: Batches, name: str) -> Batches:
    return [{key: value for key, value in batch.items() if key != name} for batch in batches]


@pytest.mark.parametrize(
    ("config", "change", "words"),
    [
        (ff.PruneConfig(), lambda data: data, "keeps everything"),
        (ff.PruneConfig(heads=5), lambda data: data, "layer 0 has 4 heads; heads=5"),
        (ff.PruneConfig(ffn=25), lambda data: data, "layer 0 has 24 neurons; ffn=25"),
        (ff.PruneConfig(heads=5, ranking="global"), lambda data: data, "12 heads together; heads=5"),
        (ff.PruneConfig(macs=0.05, ranking="global"), lambda data: data, "every layer keeps at least"),
        (HALF, lambda _: None, "pass data="),
        (HALF, lambda _: [], "no examples"),
        (HALF, lambda data: without(data, "labels"), "an example has no label"),
        (HALF, lambda data: without(data, "input_ids"), "tensor input_ids"),
        (HALF, lambda data: [[1]], "got list"),
        (HALF, lambda data: [{**data[0], "labels": torch.tensor([3])}], "from 0 to 2"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_model_is_as_before(
    make_model: Make, examples: Batches, config: ff.PruneConfig, change: Callable[[Batches], Any], words: str
) -> None:
    model = make_model("bert")
    untouched = Untouched(model)
    with pytest.raises(ConfigError, match=words):
        ff.prune_(model, config, change(examples))
    untouched.check()


def test_other_models_are_refused(make_model: Make, examples: Batches) -> None:
    with pytest.raises(UnsupportedModelError, match="of no family known"):
        ff.prune_(nn.Linear(2, 2), HALF, examples)
    with pytest.raises(UnsupportedModelError, match=r"call model.eval\(\)"):
        ff.prune_(make_model("bert").train(), HALF, examples)
    with pytest.raises(ConfigError, match="gives no logits"):
        ff.prune_(make_model("bert", "AutoModel"), HALF, examples)
    packed = make_model("bert")
    ff.quantize_(packed, ff.Int8Config(never_slower=False))
    with pytest.raises(UnsupportedModelError, match=r"PackedLinear, not nn\.Linear: prune the float model"):
        ff.prune_(packed, HALF, examples)


def test_a_layer_in_two_places_is_refused(make_model: Make) -> None:
    model = make_model("bert")
    model.bert.encoder.layer[2] = model.bert.encoder.layer[0]
    shapes = shapes_of(model)
    with pytest.raises(
        UnsupportedModelError, match=r"layers 0 and 2 share attention\.self\.query: give each"
    ):
        ff.prune_(model, ff.PruneConfig(heads=3, scores="random"))
    assert shapes_of(model) == shapes
    model.bert.encoder.layer[2] = deepcopy(model.bert.encoder.layer[0])
    report = ff.prune_(model, ff.PruneConfig(heads=3, scores="random"))
    assert report.layers[0].heads != report.layers[2].heads


def test_losses_and_weights_that_are_not_numbers_are_refused(make_model: Make, examples: Batches) -> None:
    model = make_model("bert")
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    untouched = Untouched(make_model("bert"))
    with pytest.raises(NonFiniteError, match="loss of example 0 is nan"):
        ff.prune_(model, HALF, examples)
    model.bert.encoder.layer[2].output.dense.weight.data[0, 0] = float("inf")
    with pytest.raises(NonFiniteError, match="neurons of layer 2"):
        ff.prune_(model, ff.PruneConfig(ffn=12, scores="magnitude"))
    untouched.check()


def test_parts_in_training_mode_stay_in_it(make_model: Make, examples: Batches) -> None:
    model = make_model("bert")
    model.dropout.train()
    ff.prune_(model, HALF, examples)
    assert [name for name, module in model.named_modules() if module.training] == ["dropout"]


def test_a_failing_forward_leaves_no_hooks(make_model: Make, examples: Batches) -> None:
    model = make_model("bert")
    untouched = Untouched(model)
    with pytest.raises(IndexError):
        ff.prune_(model, HALF, [{**examples[0], "input_ids": torch.tensor([[1000]])}])
    untouched.check()
