# SPDX-License-Identifier: MIT
"""The heads of ours that stand on a base model of transformers, where its own classes have none like them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from torch import nn

from fastformers.modules.pair_classifier import PairClassifier
from fastformers.modules.span_classifier import SpanClassifier

__all__ = ["OWN_HEADS", "OwnHead", "without_own_head"]

OwnHead: TypeAlias = SpanClassifier | PairClassifier

#: Name of the class, as artefacts have it -> class.
OWN_HEADS: Mapping[str, type[OwnHead]] = MappingProxyType(
    {kind.__name__: kind for kind in (SpanClassifier, PairClassifier)}
)


def without_own_head(model: nn.Module) -> nn.Module:
    """Returns the model of transformers inside one of our heads; any other model as it is."""
    return model.encoder if isinstance(model, OwnHead) else model
