# SPDX-License-Identifier: MIT
"""The span classifier: the published loop's numbers, gradients, export, and refusal of wrong spans."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fastformers.errors import ConfigError, ShapeError
from fastformers.modules.span_classifier import SpanClassifier, SpanFill, max_over_spans


def make(fill: SpanFill = "-inf", labels: int = 3) -> SpanClassifier:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
    )
    return SpanClassifier(BertModel(config), 2, labels, dropout=0.1, fill=fill).eval()


def inputs(batch: int = 3, tokens: int = 9) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(batch * 100 + tokens)
    starts = torch.randint(0, tokens - 1, (batch, 2, 1), generator=generator)
    widths = torch.randint(1, 4, (batch, 2, 1), generator=generator)
    return {
        "input_ids": torch.randint(5, 60, (batch, tokens), generator=generator),
        "attention_mask": torch.ones(batch, tokens, dtype=torch.int64),
        "spans": torch.cat([starts, (starts + widths).clamp(max=tokens)], dim=2),
    }


def one_by_one(hidden: Tensor, spans: Tensor, published: bool) -> Tensor:
    """The published code's loop over the batch; it multiplies by a mask, so that other tokens count as zeros."""
    rows = []
    for states, marks in zip(hidden, spans.tolist(), strict=True):
        pooled = []
        for start, end in marks:
            mask = torch.zeros(len(states), 1)
            mask[start:end] = 1
            pooled.append((states * mask).amax(0) if published else states[start:end].amax(0))
        rows.append(torch.stack(pooled))
    return torch.stack(rows)


@pytest.mark.parametrize(("fill", "published"), [(0.0, True), (float("-inf"), False)])
def test_pooling_is_the_loops(fill: float, published: bool) -> None:
    hidden = torch.randn(4, 9, 16, generator=torch.Generator().manual_seed(1)) - 1
    spans = inputs(4)["spans"]
    assert torch.equal(max_over_spans(hidden, spans, fill), one_by_one(hidden, spans, published))


def test_the_fills_differ_where_a_channel_is_negative_all_over_a_span() -> None:
    hidden = -torch.ones(1, 3, 2)
    spans = torch.tensor([[[0, 2]]])
    assert max_over_spans(hidden, spans, 0.0).tolist() == [[[0.0, 0.0]]]
    assert max_over_spans(hidden, spans, float("-inf")).tolist() == [[[-1.0, -1.0]]]


def test_logits_are_of_the_spans_side_by_side() -> None:
    model, batch = make(), inputs()
    spans = batch.pop("spans")
    hidden = model.encoder(**batch).last_hidden_state
    expected = model.classifier(one_by_one(hidden, spans, False).flatten(1))
    assert torch.equal(model(**batch, spans=spans).logits, expected)


def test_the_loss_is_the_mean_cross_entropy_and_reaches_the_encoder() -> None:
    model, batch = make(), inputs()
    labels = torch.tensor([0, 2, 1])
    output = model(**batch, labels=labels)
    assert torch.equal(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))
    output.loss.backward()
    idle = [
        name for name, each in model.named_parameters() if each.grad is None or not each.grad.isfinite().all()
    ]
    assert idle == []  # no pooler is left to stay untrained, and no infinity comes back through the mask


def test_hidden_states_and_attentions_are_handed_through() -> None:
    model = make()
    model.encoder.set_attn_implementation("eager")
    output = model(**inputs(), output_hidden_states=True, output_attentions=True)
    assert (len(output.hidden_states), len(output.attentions)) == (3, 2)
    assert make()(**inputs()).hidden_states is None


def test_it_is_exported_with_any_batch_and_length() -> None:
    """torch.export refuses loops and branches over the batch."""
    model, batch = make(), inputs(3, 9)
    rows, tokens = torch.export.Dim("rows", min=2, max=64), torch.export.Dim("tokens", min=2, max=40)
    shapes = {name: {0: rows} if name == "spans" else {0: rows, 1: tokens} for name in batch}
    program = torch.export.export(model, (), batch, dynamic_shapes=shapes)
    for other in (batch, inputs(5, 17)):
        exported: Any = program.module()(**other)
        # The exported program runs other kernels: measured 1e-7.
        assert torch.allclose(exported.logits, model(**other).logits, atol=1e-6)


def test_the_config_rebuilds_it() -> None:
    model = make("zero")
    copy = SpanClassifier.from_config(model.config)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.eval()(**inputs()).logits, model(**inputs()).logits)
    assert (copy.config.span_fill, copy.config.num_spans, copy.config.num_labels) == ("zero", 2, 3)


def test_a_config_of_another_model_is_refused() -> None:
    from transformers import BertConfig

    with pytest.raises(ConfigError, match="the config has no num_spans: it is not of a span classifier"):
        SpanClassifier.from_config(BertConfig())


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        (None, "spans is missing, must be of shape"),
        (
            torch.zeros(3, 1, 2, dtype=torch.int64),
            r"spans is of shape \[3, 1, 2\], must be of shape \[batch, 2, 2\]",
        ),
        (torch.zeros(3, 2, dtype=torch.int64), r"spans is of shape \[3, 2\]"),
    ],
)
def test_wrong_spans_are_refused(spans: Tensor | None, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        make()(**{**inputs(), "spans": spans})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 2, 0.1), "num_spans is 0 and num_labels 2"),
        ((2, 0, 0.1), "num_spans is 2 and num_labels 0"),
        ((2, 2, 1.0), "dropout is 1.0, must be from 0 to below 1"),
        ((2, 2, 0.1, "mean"), "fill is 'mean'; allowed: zero, -inf"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SpanClassifier(make().encoder, *arguments)
