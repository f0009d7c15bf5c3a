# SPDX-License-Identifier: MIT
"""Where a new head that compares two texts starts: in the middle of the cosines of what it is to learn from.

Its classes stand in the order of their texts' likeness. Weights move by about the learning rate in a step, so that ones
which have to cross several units would not arrive.
"""

from __future__ import annotations

import torch

from fastformers.config import Head
from fastformers.modules.pair_classifier import PairClassifier
from fastformers.tasks import Collator, EncodedExamples
from fastformers.tasks.fitting import check_fits
from fastformers.tasks.loading import check_head
from fastformers.tasks.prediction import accepted_inputs, evaluating

__all__ = ["start_head_"]

#: Texts looked at, evenly spread: the mean of their cosines is then known to some 0.005.
_MOST_TEXTS = 256
_BATCH = 16


def start_head_(model: torch.nn.Module, head: Head | None, learned: EncodedExamples) -> None:
    """Checks that a head fits the examples, and starts it from them.

    Args:
        model: with the new head, in evaluation mode.
        head: as for :func:`fastformers.tasks.build_model`; ``None``, and nothing is done.
        learned: the examples to be learned from.

    Raises:
        ConfigError: the head compares the two texts of a pair, and an example has one; or an example does not fit the
            model's tables.
    """
    check_head(head, learned.examples)
    if head is None or not isinstance(model, PairClassifier):
        return
    check_fits(model, learned)
    some = _labelled(learned)
    if len(some) < 2:
        return
    collate = Collator(some.tokenizer)
    cosines = []
    with evaluating(model), torch.no_grad():
        for start in range(0, len(some), _BATCH):
            batch = collate([some[place] for place in range(start, min(start + _BATCH, len(some)))])
            cosines.append(model.cosines(**accepted_inputs(model, batch))[0])
    labels = torch.tensor([example["labels"] for example in some])
    model.start_from_(torch.cat(cosines), labels)


def _labelled(learned: EncodedExamples) -> EncodedExamples:
    """Examples evenly spread that have a label, which not all of a distillation's need."""
    places = [place for place, example in enumerate(learned.examples) if example.label is not None]
    return learned.subset(places[:: max(1, -(-len(places) // _MOST_TEXTS))])
