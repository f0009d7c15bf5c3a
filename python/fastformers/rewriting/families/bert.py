# SPDX-License-Identifier: MIT
"""BERT, and the arrangement of modules that RoBERTa's relatives and ELECTRA took over from it."""

from __future__ import annotations

from collections.abc import Mapping

from fastformers.modules.encoder_names import BERT
from fastformers.rewriting.family import Family, Head, Step

__all__ = [
    "FAMILY",
    "bert_modules",
    "classification_head",
    "question_answering_head",
    "token_classification_head",
]


def bert_modules(prefix: str) -> dict[str, str]:
    """Classes of the modules of an encoder, which are named as BERT's with another prefix."""
    return {
        "": f"{prefix}Model",
        "embeddings": f"{prefix}Embeddings",
        "encoder": f"{prefix}Encoder",
        "pooler": f"{prefix}Pooler",
    }


def token_classification_head(*before: Step, classes: Mapping[str, str] | None = None) -> Head:
    """``classifier`` on every token, after what comes before it."""
    return Head(
        outputs=("logits",),
        rows="all",
        steps=(*before, Step(linear="classifier")),
        result="TokenClassifierOutput",
        classes=classes or {},
    )


def question_answering_head(
    *before: Step, linear: str = "qa_outputs", classes: Mapping[str, str] | None = None
) -> Head:
    """Start and end scores of every token: the two rows of one linear."""
    return Head(
        outputs=("start_logits", "end_logits"),
        rows="all",
        steps=(*before, Step(linear=linear)),
        result="QuestionAnsweringModelOutput",
        classes=classes or {},
    )


def classification_head(*steps: Step, classes: Mapping[str, str] | None = None) -> Head:
    """Steps on each sequence's first token."""
    return Head(
        outputs=("logits",),
        rows="first",
        steps=steps,
        result="SequenceClassifierOutput",
        classes=classes or {},
    )


FAMILY = Family(
    names=BERT,
    result="BaseModelOutputWithPoolingAndCrossAttentions",
    classes=bert_modules("Bert"),
    pooler=Step(linear="pooler.dense", activation_module="pooler.activation"),
    heads={
        "BertForSequenceClassification": classification_head(
            Step(linear="bert.pooler.dense", activation_module="bert.pooler.activation"),
            Step(linear="classifier"),
        ),
        "BertForTokenClassification": token_classification_head(),
        "BertForQuestionAnswering": question_answering_head(),
    },
)
