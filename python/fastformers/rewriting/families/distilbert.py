# SPDX-License-Identifier: MIT
"""DistilBERT: post-norm layers with flat names, no token types, no pooler; its classifier has a ReLU before it."""

from __future__ import annotations

from fastformers.modules.encoder_names import DISTILBERT
from fastformers.rewriting.families.bert import (
    classification_head,
    question_answering_head,
    token_classification_head,
)
from fastformers.rewriting.family import Family, Step

__all__ = ["FAMILY"]

FAMILY = Family(
    names=DISTILBERT,
    result="BaseModelOutput",
    classes={"": "DistilBertModel", "embeddings": "Embeddings", "transformer": "Transformer"},
    heads={
        "DistilBertForSequenceClassification": classification_head(
            Step(linear="pre_classifier", activation="relu"), Step(linear="classifier")
        ),
        "DistilBertForTokenClassification": token_classification_head(),
        "DistilBertForQuestionAnswering": question_answering_head(),
    },
)
