# SPDX-License-Identifier: MIT
"""Encoders with random weights and a tokenizer of made-up words: something to serve where no trained model is needed.

Speed, memory and scheduling do not depend on what the weights say. Needs no torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from fastformers.encoder_plan import EncoderPlan, HeadStep, LayerPlan, OutputPlan

__all__ = ["random_plan", "random_tensors", "random_texts", "word_tokenizer"]

Tensors = dict[str, NDArray[Any]]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def random_plan(
    *,
    layers: int = 2,
    hidden: int = 32,
    heads: int = 2,
    intermediate: int = 64,
    classes: int = 3,
    vocab: int = 200,
    max_tokens: int = 128,
) -> EncoderPlan:
    """A BERT-shaped plan with the outputs ``last_hidden_state``, ``logits`` and ``embedding`` (mean, normalised)."""
    classifier = (
        HeadStep(linear=True, activation="tanh", norm=False, features=hidden),
        HeadStep(linear=True, activation="none", norm=False, features=classes),
    )
    layer = LayerPlan(heads=heads, head_size=hidden // max(1, heads), intermediate=intermediate)
    return EncoderPlan(
        hidden=hidden,
        embedding=hidden,
        vocab=vocab,
        types=2,
        positions=max_tokens,
        position_offset=0,
        max_tokens=max_tokens,
        pre_norm=False,
        norm_epsilon=1e-12,
        activation="gelu",
        gated=False,
        layers=(layer,) * layers,
        outputs=(
            OutputPlan(name="last_hidden_state", rows="all"),
            OutputPlan(name="logits", rows="first", steps=classifier),
            OutputPlan(name="embedding", rows="mean", normalize=True),
        ),
    )


def random_tensors(plan: EncoderPlan, seed: int = 0) -> Tensors:
    """Random tensors for a plan of :func:`random_plan`: INT8 layers, float32 tables, norms and heads."""
    rng = np.random.default_rng(seed)
    tensors: Tensors = {
        "embeddings.word": _normal(rng, plan.vocab, plan.embedding),
        "embeddings.position": _normal(rng, plan.positions, plan.embedding) * np.float32(0.1),
        "embeddings.type": _normal(rng, plan.types, plan.embedding) * np.float32(0.1),
    }
    _add_norm(tensors, "embeddings.norm", plan.hidden)
    for index, layer in enumerate(plan.layers):
        width = layer.heads * layer.head_size
        shapes = {
            "qkv": (3 * width, plan.hidden),
            "output": (plan.hidden, width),
            "up": (layer.intermediate, plan.hidden),
            "down": (plan.hidden, layer.intermediate),
        }
        for name, (columns, depth) in shapes.items():
            if columns and depth:  # a layer without heads or without FFN lacks both of its matrices
                _add_int8(tensors, f"layers.{index}.{name}", columns, depth, rng)
        _add_norm(tensors, f"layers.{index}.attention_norm", plan.hidden)
        _add_norm(tensors, f"layers.{index}.ffn_norm", plan.hidden)
    for output in plan.outputs:
        depth = plan.hidden
        for step_index, step in enumerate(output.steps):
            name = f"outputs.{output.name}.{step_index}.linear"
            tensors[f"{name}.weight"] = _normal(rng, step.features, depth) / np.float32(np.sqrt(depth))
            tensors[f"{name}.bias"] = _normal(rng, step.features)
            depth = step.features
    return tensors


def word_tokenizer(vocab: int = 200) -> Tokenizer:
    """A tokenizer of words ``w0``, ``w1``... that frames texts and pairs as BERT does."""
    words = [*_SPECIAL, *(f"w{i}" for i in range(vocab - len(_SPECIAL)))]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def random_texts(count: int, most_words: int, *, vocab: int = 200, seed: int = 0) -> list[str]:
    """Texts of 0 to ``most_words`` words of :func:`word_tokenizer`, all lengths alike."""
    rng = np.random.default_rng(seed)
    words = vocab - len(_SPECIAL)
    lengths = rng.integers(0, most_words + 1, count)
    return [" ".join(f"w{word}" for word in rng.integers(0, words, length)) for length in lengths]


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32)


def _add_norm(tensors: Tensors, name: str, width: int) -> None:
    tensors[f"{name}.weight"] = np.ones(width, np.float32)
    tensors[f"{name}.bias"] = np.zeros(width, np.float32)


def _add_int8(tensors: Tensors, name: str, columns: int, depth: int, rng: np.random.Generator) -> None:
    tensors[f"{name}.weight"] = rng.integers(-127, 128, (columns, depth), dtype=np.int8)
    tensors[f"{name}.scale"] = np.full(columns, 1 / (73 * np.sqrt(depth)), np.float32)
    tensors[f"{name}.bias"] = _normal(rng, columns) * np.float32(0.1)
