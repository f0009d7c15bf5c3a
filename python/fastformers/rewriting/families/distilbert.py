# SPDX-License-Identifier: MIT
"""DistilBERT: post-norm layers with flat names, no token types, no pooler; its classifier has a ReLU before it."""

from __future__ import annotations

from fastformers.rewriting.families.bert import (
    bert_embeddings,
    classification_head,
    question_answering_head,
    token_classification_head,
)
from fastformers.rewriting.family import BlockNames, Family, Step

__all__ = ["FAMILY"]

FAMILY = Family(
    name="DistilBERT",
    package="transformers.models.distilbert.modeling_distilbert",
    base="distilbert",
    model="DistilBertModel",
    result="BaseModelOutput",
    classes={"": "DistilBertModel", "embeddings": "Embeddings", "transformer": "Transformer"},
    embeddings=bert_embeddings(types=False),
    layers="transformer.layer",
    block=BlockNames(
        classes={"": "TransformerBlock", "attention": "DistilBertSelfAttention", "ffn": "FFN"},
        attention="attention",
        head_size="attention_head_size",
        qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        output="attention.out_lin",
        attention_norm="sa_layer_norm",
        up="ffn.lin1",
        activation="ffn.activation",
        down="ffn.lin2",
        ffn_norm="output_layer_norm",
    ),
    heads={
        "DistilBertForSequenceClassification": classification_head(
            Step(linear="pre_classifier", activation="relu"), Step(linear="classifier")
        ),
        "DistilBertForTokenClassification": token_classification_head(),
        "DistilBertForQuestionAnswering": question_answering_head(),
    },
)
