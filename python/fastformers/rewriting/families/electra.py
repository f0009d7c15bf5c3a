# SPDX-License-Identifier: MIT
"""ELECTRA (discriminators): BERT's layers, embeddings that may be narrower, no pooler."""

from __future__ import annotations

from fastformers.modules.encoder_names import ELECTRA
from fastformers.rewriting.families.bert import (
    bert_modules,
    classification_head,
    question_answering_head,
    token_classification_head,
)
from fastformers.rewriting.family import Family, Step

__all__ = ["FAMILY"]

FAMILY = Family(
    names=ELECTRA,
    result="BaseModelOutputWithPastAndCrossAttentions",
    classes=bert_modules("Electra"),
    heads={
        "ElectraForSequenceClassification": classification_head(
            Step(linear="classifier.dense", activation_module="classifier.activation"),
            Step(linear="classifier.out_proj"),
            classes={"classifier": "ElectraClassificationHead"},
        ),
        "ElectraForTokenClassification": token_classification_head(),
        "ElectraForQuestionAnswering": question_answering_head(),
    },
)
