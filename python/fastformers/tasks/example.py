# SPDX-License-Identifier: MIT
"""One labelled text, or pair of texts, as every task hands it on: the template is already applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["Example"]

_NO_FACTS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Example:
    """One input of a model, with what its metric and its submission need to know.

    Attributes:
        guid: names the example inside its file, e.g. ``"7"``, or ``"3-12-40"`` for passage, question and answer.
        text: first text, never empty.
        text_pair: second text; ``None`` where the task has one text.
        label: index into the task's labels, the number to predict for regression, or ``None`` where unknown.
        spans: character ranges [start, end), one for each entry of the task's ``span_texts``.
        group: examples with the same group are answered together: a question of MultiRC, a query of ReCoRD, the two
            choices of COPA.
        answer: the candidate's text, for ReCoRD.
        keep_from: ``text[keep_from:]`` is what truncation should spare (MultiRC's question); 0 for no such part.
        facts: further facts for metrics and submissions, by name.
    """

    guid: str
    text: str
    text_pair: str | None = None
    label: int | float | None = None
    spans: tuple[tuple[int, int], ...] = ()
    group: str = ""
    answer: str = ""
    keep_from: int = 0
    facts: Mapping[str, Any] = field(default_factory=lambda: _NO_FACTS)
