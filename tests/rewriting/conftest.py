# SPDX-License-Identifier: MIT
"""Small random models of every family and head, whole or pruned, and batches of ragged texts for them."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_threads
from model_families import family_config, randomize_
from torch import Tensor, nn

from fastformers.rewriting.families import family_of

one_torch_thread = torch_threads.one_torch_thread

HEADS = {
    "base": "AutoModel",
    "classification": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
    "answers": "AutoModelForQuestionAnswering",
}
VOCABULARY, PADDING_ID, LENGTH_LIMIT = 90, 1, 40

#: Name -> (family, arguments besides the common ones).
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {}),
    "roberta": ("roberta", {"type_vocab_size": 1}),
    "xlm-roberta": ("xlm-roberta", {"type_vocab_size": 2}),
    "camembert": ("camembert", {"type_vocab_size": 1}),
    "distilbert": ("distilbert", {}),
    "electra": ("electra", {"embedding_size": 14}),
    "electra-wide": ("electra", {"embedding_size": "hidden"}),
    "mpnet": ("mpnet", {}),
    "modernbert": ("modernbert", {"local_attention": 6}),
    "modernbert-mean": (
        "modernbert",
        {
            "local_attention": 10,
            "classifier_pooling": "mean",
            "norm_bias": True,
            "mlp_bias": True,
            "attention_bias": True,
            "classifier_bias": True,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Name of a family, and of its odd relatives."""
    name: str = request.param
    return name


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> str:
    """Name of a head."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def PlanReference() -> Any:
    """The interpreter in ``plan_reference.py``."""
    path = Path(__file__).with_name("plan_reference.py")
    spec = importlib.util.spec_from_file_location("plan_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PlanReference


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """``make_model(family, head="base", seed=0, **sizes)``: random weights large enough for differences to show."""
    transformers = pytest.importorskip("transformers")

    def make(family: str, head: str = "base", seed: int = 0, **changes: Any) -> Any:
        kind, own = FAMILIES[family]
        config = family_config(kind, **_arguments(own, changes, head))
        torch.manual_seed(seed)
        model = getattr(transformers, HEADS[head]).from_config(config).eval()
        randomize_(model)
        return model

    return make


def _arguments(own: dict[str, Any], changes: dict[str, Any], head: str) -> dict[str, Any]:
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 30,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 44,
        "max_position_embeddings": LENGTH_LIMIT + 2,
        "num_labels": 2 if head == "answers" else 5,
        "pad_token_id": PADDING_ID,
        **own,
        **changes,
    }
    if sizes.get("embedding_size") == "hidden":
        sizes["embedding_size"] = sizes["hidden_size"]
    return sizes


def linear(columns: int, depth: int, bias: bool) -> nn.Linear:
    """A random linear of any size, 0 included."""
    made = nn.Linear(1, 1, bias=bias)  # torch warns of the initialisation of empty ones
    made.in_features, made.out_features = depth, columns
    made.weight = nn.Parameter(1.2 * max(depth, 1) ** -0.5 * torch.randn(columns, depth))
    if bias:
        made.bias = nn.Parameter(0.2 * torch.randn(columns))
    return made.eval()


@pytest.fixture(scope="session")
def prune() -> Callable[..., None]:
    """``prune(model, layer, heads=None, ffn=None)``: replaces the linears of a layer by ones of other sizes."""

    def prune(model: Any, number: int, heads: int | None = None, ffn: int | None = None) -> None:
        found = family_of(model)
        assert found is not None
        encoder = getattr(model, found.names.base, model)
        layer = encoder.get_submodule(found.names.layers)[number]
        names = found.names.block
        hidden = layer.get_submodule(names.output).out_features
        if heads is not None:
            attention = layer.get_submodule(names.attention)
            channels = heads * getattr(attention, names.head_size)
            columns = channels * (3 if len(names.qkv) == 1 else 1)
            for path in names.qkv:
                bias = layer.get_submodule(path).bias is not None
                layer.set_submodule(path, linear(columns, hidden, bias))
            replaced = layer.get_submodule(names.output)
            smaller = linear(hidden, channels, replaced.bias is not None)
            if replaced.bias is not None:
                smaller.bias = replaced.bias
            layer.set_submodule(names.output, smaller)
            if hasattr(attention, "all_head_size"):
                attention.num_attention_heads, attention.all_head_size = heads, channels
        if ffn is not None:
            bias = layer.get_submodule(names.up).bias is not None
            layer.set_submodule(names.up, linear(ffn * (2 if found.names.gated else 1), hidden, bias))
            layer.set_submodule(names.down, linear(hidden, ffn, bias))

    return prune


@pytest.fixture(scope="session")
def make_texts() -> Callable[..., list[list[int]]]:
    """``make_texts(seed=0, count=6)``: token ids of texts of 1 to 40 tokens, without padding ids."""

    def make(seed: int = 0, count: int = 6) -> list[list[int]]:
        chance = random.Random(seed)
        lengths = [1, LENGTH_LIMIT, *(chance.randint(2, LENGTH_LIMIT) for _ in range(count - 2))]
        return [[chance.randrange(PADDING_ID + 1, VOCABULARY) for _ in range(length)] for length in lengths]

    return make


@pytest.fixture(scope="session")
def padded() -> Callable[..., dict[str, Tensor]]:
    """``padded(texts, side="right", extra=0)``: a batch with its attention mask."""

    def pad(texts: list[list[int]], side: str = "right", extra: int = 0) -> dict[str, Tensor]:
        length = max(map(len, texts)) + extra
        ids = torch.full((len(texts), length), PADDING_ID)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            place = slice(0, len(text)) if side == "right" else slice(length - len(text), length)
            ids[row, place], mask[row, place] = torch.tensor(text), 1
        return {"input_ids": ids, "attention_mask": mask}

    return pad
