# SPDX-License-Identifier: MIT
"""RoBERTa, XLM-RoBERTa, CamemBERT: BERT's layers, positions that begin behind the padding id, a two-linear head."""

from __future__ import annotations

from torch import nn

from fastformers.modules.encoder_names import CAMEMBERT, ROBERTA, XLM_ROBERTA, EncoderNames
from fastformers.rewriting.families.bert import (
    bert_modules,
    classification_head,
    question_answering_head,
    token_classification_head,
)
from fastformers.rewriting.family import Family, Head, Step

__all__ = ["FAMILIES", "position_behind_padding", "two_linears_with_tanh"]


def position_behind_padding(encoder: nn.Module) -> int:
    """Row of the first token's position: the one after the padding id."""
    padding = encoder.get_submodule("embeddings").padding_idx
    return int(padding) + 1  # type: ignore[arg-type] # an attribute of these classes


def two_linears_with_tanh(prefix: str) -> Head:
    """Head of RoBERTa's relatives and MPNet."""
    return classification_head(
        Step(linear="classifier.dense", activation="tanh"),
        Step(linear="classifier.out_proj"),
        classes={"classifier": f"{prefix}ClassificationHead"},
    )


def _family(names: EncoderNames) -> Family:
    prefix = names.model.removesuffix("Model")
    return Family(
        names=names,
        result="BaseModelOutputWithPoolingAndCrossAttentions",
        classes=bert_modules(prefix),
        pooler=Step(linear="pooler.dense", activation_module="pooler.activation"),
        heads={
            f"{prefix}ForSequenceClassification": two_linears_with_tanh(prefix),
            f"{prefix}ForTokenClassification": token_classification_head(),
            f"{prefix}ForQuestionAnswering": question_answering_head(),
        },
        first_position=position_behind_padding,
    )


FAMILIES = (
    _family(ROBERTA),
    _family(XLM_ROBERTA),
    _family(CAMEMBERT),
)
