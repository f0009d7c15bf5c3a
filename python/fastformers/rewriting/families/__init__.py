# SPDX-License-Identifier: MIT
"""The families that can be compiled: one adapter a file, and how a model's is found."""

from __future__ import annotations

from torch import nn

from fastformers.modules.encoder_names import names_of
from fastformers.rewriting.families import bert, distilbert, electra, modernbert, mpnet, roberta
from fastformers.rewriting.family import Family

__all__ = ["FAMILIES", "family_of"]

FAMILIES: tuple[Family, ...] = (
    bert.FAMILY,
    *roberta.FAMILIES,
    distilbert.FAMILY,
    electra.FAMILY,
    mpnet.FAMILY,
    modernbert.FAMILY,
)


def family_of(model: nn.Module) -> Family | None:
    """The family whose package the model's class, or a class it was derived from, is in."""
    names = names_of(model)
    return next((family for family in FAMILIES if family.names is names), None)
