# SPDX-License-Identifier: MIT
"""Classifies texts by marked spans: each channel's largest value over a span, spans side by side, one linear layer.

The head of WiC and WSC in the paper's published code, without its loop over the batch, so that it can be traced and
exported. There, tokens outside a span count as zeros, so that a channel is never below zero (``fill="zero"``, to read
its checkpoints); here they do not count unless asked.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastformers._optional import require
from fastformers.errors import ConfigError, ShapeError
from fastformers.span_head import SPAN_FILLS, SpanFill

__all__ = ["SpanClassifier"]


class SpanClassifier(nn.Module):
    """An encoder of transformers with a head over marked spans.

    Args:
        encoder: a base model (``AutoModel``); taken over, and its pooler, which nothing reads, taken out.
        num_spans: spans of a text.
        num_labels: width of the logits.
        dropout: share of the pooled values dropped in training, 0 to below 1.
        fill: what tokens outside a span count as: ``"-inf"`` (nothing) or ``"zero"`` (as the published code).

    Attributes:
        encoder: the encoder.
        classifier: the linear layer from num_spans x hidden to the labels.
        config: the encoder's config with ``num_labels``, ``num_spans``, ``span_fill`` and ``span_dropout``.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> model = SpanClassifier(AutoModel.from_pretrained(folder), 2, 2, dropout=0.1)  # doctest: +SKIP
    """

    def __init__(
        self, encoder: Any, num_spans: int, num_labels: int, dropout: float, fill: SpanFill = "-inf"
    ) -> None:
        super().__init__()
        _check(num_spans, num_labels, dropout, fill)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        self.encoder = encoder
        self.config = encoder.config
        self.config.num_labels = num_labels
        self.config.num_spans = num_spans
        self.config.span_fill = fill
        self.config.span_dropout = dropout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(num_spans * int(self.config.hidden_size), num_labels)
        nn.init.normal_(self.classifier.weight, std=float(getattr(self.config, "initializer_range", 0.02)))
        nn.init.zeros_(self.classifier.bias)
        outputs = require("transformers.modeling_outputs", "torch", "fastformers.modules.SpanClassifier")
        self._output_class = outputs.SequenceClassifierOutput

    @classmethod
    def from_config(cls, config: Any) -> SpanClassifier:
        """Builds the module with random weights from :attr:`config`, as it was saved.

        Raises:
            ConfigError: a field is missing or out of range.
        """
        transformers = require("transformers", "torch", "fastformers.modules.SpanClassifier")
        names = ("num_spans", "span_dropout", "span_fill")
        missing = [name for name in names if not hasattr(config, name)]
        if missing:
            raise ConfigError(f"the config has no {missing[0]}: it is not of a span classifier")
        encoder = transformers.AutoModel.from_config(config)
        return cls(encoder, config.num_spans, config.num_labels, config.span_dropout, config.span_fill)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        spans: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """Returns transformers' ``SequenceClassifierOutput``.

        Args:
            input_ids: int64, shape [batch, tokens].
            attention_mask: 1 for text, 0 for padding, shape [batch, tokens].
            token_type_ids: shape [batch, tokens].
            spans: int64, token ranges [start, end) with start < end <= tokens, shape [batch, spans, 2].
            labels: int64, shape [batch]; gives ``loss``, the mean cross-entropy.
            options: to the encoder, e.g. ``output_hidden_states=True``.

        Raises:
            ShapeError: ``spans`` is missing or of another shape.
        """
        num_spans = int(self.config.num_spans)
        if spans is None or spans.dim() != 3 or spans.shape[1:] != (num_spans, 2):
            found = "missing" if spans is None else f"of shape {list(spans.shape)}"
            raise ShapeError(f"spans is {found}, must be of shape [batch, {num_spans}, 2]")
        given = {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
        inputs = {name: tensor for name, tensor in given.items() if tensor is not None}
        encoded = self.encoder(input_ids=input_ids, **inputs, **options)
        pooled = max_over_spans(encoded.last_hidden_state, spans, SPAN_FILLS[self.config.span_fill])
        logits = self.classifier(self.dropout(pooled.flatten(1)))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return self._output_class(
            loss=loss,
            logits=logits,
            hidden_states=encoded.get("hidden_states"),
            attentions=encoded.get("attentions"),
        )


def max_over_spans(hidden: Tensor, spans: Tensor, fill: float) -> Tensor:
    """Takes the largest value of each channel over each span.

    Args:
        hidden: shape [batch, tokens, channels].
        spans: token ranges [start, end), shape [batch, spans, 2].
        fill: what tokens outside the span count as.

    Returns:
        Shape [batch, spans, channels].
    """
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    inside = (positions >= spans[..., :1]) & (positions < spans[..., 1:])  # [batch, spans, tokens]
    return hidden[:, None].masked_fill(~inside[..., None], fill).amax(2)


def _check(num_spans: int, num_labels: int, dropout: float, fill: str) -> None:
    if num_spans < 1 or num_labels < 1:
        raise ConfigError(f"num_spans is {num_spans} and num_labels {num_labels}; both must be at least 1")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout is {dropout}, must be from 0 to below 1")
    if fill not in SPAN_FILLS:
        raise ConfigError(f"fill is {fill!r}; allowed: {', '.join(SPAN_FILLS)}")
