# SPDX-License-Identifier: MIT
"""BERT, and the arrangement of modules that RoBERTa's relatives and ELECTRA took over from it."""

from __future__ import annotations

from collections.abc import Mapping

from fastformers.rewriting.family import BlockNames, EmbeddingNames, Family, Head, Step

__all__ = [
    "FAMILY",
    "bert_block",
    "bert_embeddings",
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


def bert_block(prefix: str) -> BlockNames:
    """A layer arranged as BERT's, with another prefix of the class names."""
    return BlockNames(
        classes={
            "": f"{prefix}Layer",
            "attention": f"{prefix}Attention",
            "attention.self": f"{prefix}SelfAttention",
            "attention.output": f"{prefix}SelfOutput",
            "intermediate": f"{prefix}Intermediate",
            "output": f"{prefix}Output",
        },
        attention="attention.self",
        head_size="attention_head_size",
        qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
        output="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        up="intermediate.dense",
        activation="intermediate.intermediate_act_fn",
        down="output.dense",
        ffn_norm="output.LayerNorm",
    )


def bert_embeddings(*, types: bool = True, projection: str | None = None) -> EmbeddingNames:
    """Embeddings named as BERT's."""
    return EmbeddingNames(
        word="embeddings.word_embeddings",
        position="embeddings.position_embeddings",
        type="embeddings.token_type_embeddings" if types else None,
        norm="embeddings.LayerNorm",
        projection=projection,
    )


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
    name="BERT",
    package="transformers.models.bert.modeling_bert",
    base="bert",
    model="BertModel",
    result="BaseModelOutputWithPoolingAndCrossAttentions",
    classes=bert_modules("Bert"),
    embeddings=bert_embeddings(),
    layers="encoder.layer",
    block=bert_block("Bert"),
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
