# SPDX-License-Identifier: MIT
"""MPNet: BERT's arrangement, RoBERTa's positions, and one table of relative position biases for all layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastformers.modules.encoder_names import MPNET
from fastformers.rewriting.checks import unsupported
from fastformers.rewriting.families.bert import (
    bert_modules,
    question_answering_head,
    token_classification_head,
)
from fastformers.rewriting.families.roberta import position_behind_padding, two_linears_with_tanh
from fastformers.rewriting.family import Family, Step

__all__ = ["FAMILY"]

#: Fixed in MPNetEncoder.compute_position_bias, whatever the configuration says.
_BUCKETS = 32


def _relative_bias(encoder: nn.Module, max_tokens: int) -> Tensor:
    """Bias of each head for every distance: what ``MPNetEncoder.compute_position_bias`` adds, written once."""
    layers: Any = encoder.get_submodule("encoder")
    table: Tensor = layers.relative_attention_bias.weight.detach()
    if table.shape[0] < _BUCKETS:
        raise unsupported(
            f"encoder.relative_attention_bias has {table.shape[0]} buckets, and MPNet uses {_BUCKETS}"
        )
    distances = torch.arange(1 - max_tokens, max_tokens)
    buckets = layers.relative_position_bucket(distances, num_buckets=_BUCKETS)
    return table[buckets].T.contiguous()


FAMILY = Family(
    names=MPNET,
    result="BaseModelOutputWithPooling",
    classes=bert_modules("MPNet"),
    pooler=Step(linear="pooler.dense", activation_module="pooler.activation"),
    heads={
        "MPNetForSequenceClassification": two_linears_with_tanh("MPNet"),
        "MPNetForTokenClassification": token_classification_head(),
        "MPNetForQuestionAnswering": question_answering_head(),
    },
    first_position=position_behind_padding,
    relative_bias=_relative_bias,
)
