# SPDX-License-Identifier: MIT
"""Answers in the form that the SuperGLUE and GLUE leaderboards read."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from fastformers.tasks.example import Example
from fastformers.tasks.metrics import best_candidates
from fastformers.tasks.task import Logits, Task

__all__ = [
    "choice_lines",
    "custom_lines",
    "index_lines",
    "label_lines",
    "lower_case_lines",
    "multirc_lines",
    "number_rows",
    "record_lines",
    "tab_rows",
    "text_index_lines",
]


def _named(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[tuple[Example, str]]:
    for example, choice in zip(examples, logits.argmax(axis=1), strict=True):
        yield example, task.labels[int(choice)]


def _line(number: int | str, label: Any) -> str:
    return json.dumps({"idx": number, "label": label})


def label_lines(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[str]:
    """Yields one JSON object an example, with the label's name."""
    return (_line(int(example.guid), label) for example, label in _named(task, examples, logits))


def lower_case_lines(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[str]:
    """Yields the same with ``"true"`` and ``"false"``, as BoolQ and WiC want them (WSC wants capitals)."""
    return (_line(int(example.guid), label.lower()) for example, label in _named(task, examples, logits))


def index_lines(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[str]:
    """Yields the same with the label as a number (COPA)."""
    return (_line(int(example.guid), int(label)) for example, label in _named(task, examples, logits))


def choice_lines(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[str]:
    """Yields the same for choices that were asked for one by one."""
    for best in best_candidates(examples, logits):
        facts = examples[best].facts
        yield _line(facts["row"], facts["choice"])


def text_index_lines(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[str]:
    """Yields the same as :func:`label_lines` with ``idx`` as a text, as AX-b's official file writes it."""
    return (_line(example.guid, label) for example, label in _named(task, examples, logits))


def multirc_lines(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[str]:
    """Yields one JSON object a passage, its questions and answers inside."""
    passages: dict[int, dict[int, list[dict[str, int]]]] = defaultdict(lambda: defaultdict(list))
    for example, label in _named(task, examples, logits):
        facts = example.facts
        answer = {"idx": facts["answer"], "label": int(label)}
        passages[facts["passage"]][facts["question"]].append(answer)
    for passage, questions in passages.items():
        listed = [{"idx": question, "answers": answers} for question, answers in questions.items()]
        yield json.dumps({"idx": passage, "passage": {"questions": listed}})


def record_lines(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[str]:
    """Yields one JSON object a query, with the text of the entity chosen."""
    for choice in best_candidates(examples, logits):
        yield _line(examples[choice].facts["query"], examples[choice].answer)


def tab_rows(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[str]:
    """Yields GLUE's table of indices and label names."""
    yield "index\tprediction"
    for example, label in _named(task, examples, logits):
        yield f"{example.guid}\t{label}"


def number_rows(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[str]:
    """Yields GLUE's table with numbers, held inside the scale from 0 to 5 (STS-B)."""
    yield "index\tprediction"
    for example, value in zip(examples, logits[:, 0], strict=True):
        yield f"{example.guid}\t{min(5.0, max(0.0, float(value))):.3f}"


def custom_lines(task: Task, examples: Sequence[Example], logits: Logits) -> Iterator[str]:
    """Yields one JSON object an example of a user's own task: its line in the file, and a label or a number."""
    if task.kind == "regression":
        answers: Iterator[Any] = (float(value) for value in logits[:, 0])
    else:
        answers = (label for _, label in _named(task, examples, logits))
    for example, answer in zip(examples, answers, strict=True):
        yield json.dumps({"line": int(example.guid), "label": answer}, ensure_ascii=False)
