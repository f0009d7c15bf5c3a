# SPDX-License-Identifier: MIT
"""ELECTRA (discriminators): BERT's layers, embeddings that may be narrower, no pooler."""

from __future__ import annotations

from fastformers.rewriting.families.bert import (
    bert_block,
    bert_embeddings,
    bert_modules,
    classification_head,
    question_answering_head,
    token_classification_head,
)
from fastformers.rewriting.family import Family, Step

__all__ = ["FAMILY"]

FAMILY = Family(
    name="ELECTRA",
    package="transformers.models.electra.modeling_electra",
    base="electra",
    model="ElectraModel",
    result="BaseModelOutputWithPastAndCrossAttentions",
    classes=bert_modules("Electra"),
    embeddings=bert_embeddings(projection="embeddings_project"),
    layers="encoder.layer",
    block=bert_block("Electra"),
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
