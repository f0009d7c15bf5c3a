# SPDX-License-Identifier: MIT
"""Tiny classifiers of every family with weights large enough for differences to show, and labelled batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_threads
from model_families import PREFIXES, family_config, randomize_
from torch import Tensor, nn

one_torch_thread = torch_threads.one_torch_thread

VOCABULARY, PADDING_ID = 90, 1
HEADS, NEURONS, LAYERS = 4, 24, 3
_OWN: dict[str, dict[str, Any]] = {"electra": {"embedding_size": 20}, "modernbert": {"local_attention": 6}}


@pytest.fixture(params=PREFIXES)
def family(request: pytest.FixtureRequest) -> str:
    """Name of a model family."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """``make_model(family, auto_class="AutoModelForSequenceClassification", **changes)``: random, always the same."""
    transformers = pytest.importorskip("transformers")

    def make(family: str, auto_class: str = "AutoModelForSequenceClassification", **changes: Any) -> Any:
        sizes: dict[str, Any] = {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": NEURONS,
            "max_position_embeddings": 42,
            "num_labels": 3,
            "pad_token_id": PADDING_ID,
            **_OWN.get(family, {}),
            **changes,
        }
        torch.manual_seed(0)
        model = getattr(transformers, auto_class).from_config(family_config(family, **sizes)).eval()
        randomize_(model)
        return model

    return make


@pytest.fixture(scope="session")
def examples() -> list[dict[str, Tensor]]:
    """Labelled texts of 3 to 11 tokens, each a batch of one without padding."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for row in range(6):
        ids = torch.randint(4, VOCABULARY, (1, 3 + (5 * row) % 9), generator=generator)
        made.append(
            {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "labels": torch.tensor([row % 3]),
            }
        )
    return made


@pytest.fixture(scope="session")
def together() -> Callable[[list[dict[str, Tensor]]], dict[str, Tensor]]:
    """``together(examples)``: one padded batch."""

    def pad(examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        length = max(example["input_ids"].shape[1] for example in examples)

        def rows(name: str, value: int) -> Tensor:
            return torch.cat(
                [
                    nn.functional.pad(example[name], (0, length - example[name].shape[1]), value=value)
                    for example in examples
                ]
            )

        labels = torch.cat([example["labels"] for example in examples])
        return {
            "input_ids": rows("input_ids", PADDING_ID),
            "attention_mask": rows("attention_mask", 0),
            "labels": labels,
        }

    return pad


@pytest.fixture(scope="session")
def logits_of() -> Callable[[Any, list[dict[str, Tensor]]], Tensor]:
    """``logits_of(model, batches)``: logits of all examples, shape [examples, labels]."""

    def run(model: Any, batches: list[dict[str, Tensor]]) -> Tensor:
        with torch.no_grad():
            return torch.cat(
                [
                    model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
                    for batch in batches
                ]
            )

    return run
