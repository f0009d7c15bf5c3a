# SPDX-License-Identifier: MIT
"""ModernBERT: pre-norm, gated FFN, rotary positions, and attention that is local in most layers."""

from __future__ import annotations

from typing import Any

from torch import nn

from fastformers.modules.encoder_names import MODERNBERT
from fastformers.rewriting.checks import unsupported
from fastformers.rewriting.families.bert import question_answering_head, token_classification_head
from fastformers.rewriting.family import Family, Head, Reach, Step

__all__ = ["FAMILY"]

_PREDICTION = Step(linear="head.dense", activation_module="head.act", norm="head.norm")
_HEAD_CLASSES = {"head": "ModernBertPredictionHead"}


def _reach(encoder: nn.Module, layer: nn.Module) -> Reach:
    """Window and rotary base of a layer, as the encoder's masks and its ``rotary_emb`` choose them."""
    config: Any = encoder.config
    kind: Any = layer.attention_type
    attention: Any = layer.get_submodule("attn")
    rope = config.rope_parameters[kind]
    rope_type = rope.get("rope_type", "default")
    if rope_type != "default":
        raise unsupported(f"rotary positions of type {rope_type!r} (rope_parameters) are not covered")
    rotated = config.hidden_size // config.num_attention_heads
    if rotated != attention.head_dim:
        raise unsupported(
            f"a head has {attention.head_dim} channels and rotary positions are made for {rotated}: not covered"
        )
    local = kind == "sliding_attention"
    if local and config.sliding_window < 0:
        raise unsupported(f"local_attention is {config.local_attention}: a window needs 0 or more")
    return Reach(config.sliding_window if local else -1, float(rope["rope_theta"]))


FAMILY = Family(
    names=MODERNBERT,
    result="BaseModelOutput",
    classes={
        "": "ModernBertModel",
        "embeddings": "ModernBertEmbeddings",
        "rotary_emb": "ModernBertRotaryEmbedding",
    },
    final_norm="final_norm",
    pre_norm=True,
    heads={
        "ModernBertForSequenceClassification": Head(
            outputs=("logits",),
            rows="first",
            pooling_option="classifier_pooling",
            steps=(_PREDICTION, Step(linear="classifier")),
            result="SequenceClassifierOutput",
            classes=_HEAD_CLASSES,
        ),
        "ModernBertForTokenClassification": token_classification_head(_PREDICTION, classes=_HEAD_CLASSES),
        "ModernBertForQuestionAnswering": question_answering_head(
            _PREDICTION, linear="classifier", classes=_HEAD_CLASSES
        ),
    },
    reach=_reach,
)
