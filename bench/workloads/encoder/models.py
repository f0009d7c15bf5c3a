# SPDX-License-Identifier: MIT
"""The models of the grid: BERT classifiers of five shapes with random weights, the same in every process.

Weights are normal with standard deviation hidden^-0.5, biases are not zero and gains not one, so that attention and
logits do not degenerate. Random weights have no outlier channels: static quantization looks better on them than on a
trained model. A model's name is its shape and the rows that its head reads: ``"tinybert first"``, ``"tinybert all"``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.workloads.encoder.shapes import EncoderShape, shape_named
from fastformers.benchmarking.engines.batch import Batch

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

LABELS = 8
VOCABULARY = 30522
SEED = 20261

_CALIBRATION_SEQUENCES = 24
_CALIBRATION_LENGTHS = (16, 128)
_DEVIATION_OF_SMALL_ONES = 0.05
_FIRST_WORD = 1000  # below it are special and unused tokens
_CLS, _SEP = 101, 102


class RandomModel:
    """One model of the grid, as engines take it.

    Args:
        name: shape and rows of the head.
        workspace: folder for conversions; made when absent.
    """

    artefact = None

    def __init__(self, name: str, workspace: Path) -> None:
        shape, self.rows = name.split()
        self.shape = shape_named(shape)
        self.workspace = workspace
        workspace.mkdir(parents=True, exist_ok=True)

    def torch_model(self) -> PreTrainedModel:
        """Makes the model."""
        return random_model(self.shape, self.rows)

    def tokenizer(self) -> None:
        """Random words have none."""

    def calibration(self) -> list[Batch]:
        """Makes random sequences of 16 to 128 tokens."""
        generator = np.random.default_rng(SEED)
        lengths = generator.integers(*_CALIBRATION_LENGTHS, _CALIBRATION_SEQUENCES, endpoint=True)
        return [Batch.of([random_sequence(int(length), generator)]) for length in lengths]


def random_sequence(length: int, generator: np.random.Generator) -> list[int]:
    """Returns random word ids between a first and a last special token."""
    words = generator.integers(_FIRST_WORD, VOCABULARY, length)
    words[0], words[-1] = _CLS, _SEP
    return [int(word) for word in words]


def random_model(shape: EncoderShape, rows: str) -> PreTrainedModel:
    """Makes a classifier of a shape, of sequences (``rows="first"``) or of tokens (``"all"``)."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

    kinds = {"first": BertForSequenceClassification, "all": BertForTokenClassification}
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=_divisor(shape),
        intermediate_size=shape.intermediate,
        num_labels=LABELS,
    )
    with torch.device("meta"):
        model = kinds[rows](config)
        for layer in model.bert.encoder.layer:
            _set_heads(layer.attention, shape)
    model = model.to_empty(device="cpu").eval()
    _fill(model, torch.Generator().manual_seed(SEED), shape.hidden**-0.5)
    return model


def _divisor(shape: EncoderShape) -> int:
    """Heads that the config accepts: those of a pruned model need not divide the hidden size."""
    return shape.heads if shape.heads * shape.head_size == shape.hidden else 1


def _set_heads(attention: nn.Module, shape: EncoderShape) -> None:
    """Gives a layer its heads; transformers 5 has no function for it."""
    from torch import nn

    width = shape.heads * shape.head_size
    inner = attention.self
    inner.num_attention_heads, inner.attention_head_size, inner.all_head_size = (
        shape.heads,
        shape.head_size,
        width,
    )
    inner.scaling = shape.head_size**-0.5
    inner.query, inner.key, inner.value = (nn.Linear(shape.hidden, width) for _ in range(3))
    attention.output.dense = nn.Linear(width, shape.hidden)


def _fill(model: nn.Module, generator: torch.Generator, deviation: float) -> None:
    """Fills parameters with random numbers and the position buffers with what they must hold."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            small = parameter.ndim == 1
            parameter.normal_(0, _DEVIATION_OF_SMALL_ONES if small else deviation, generator=generator)
            if name.endswith("LayerNorm.weight"):
                parameter.add_(1)
        for name, buffer in model.named_buffers():
            if name.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.shape[-1]))
            else:
                buffer.zero_()
