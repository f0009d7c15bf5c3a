# SPDX-License-Identifier: MIT
"""SuperGLUE: the official files, and the templates and label orders of the paper's published code.

Templates decide what a model reads, so scores can only be compared when they agree to the character. Two deliberate
differences: WSC's spans are counted in words, as the official files count them, not in characters; and MultiRC's
question is marked (``Example.keep_from``), so that truncation can spare it.

COPA is there twice. ``copa`` is the paper's template, both choices in one pair; ``copa-choices`` asks for each choice
alone, as ReCoRD does for its entities. Two forwards of half the length, and a model learns it from COPA's 400 examples,
which it does not from the pair (docs/results.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from fastformers.files.fields import short
from fastformers.files.rows import Row
from fastformers.tasks import metrics, submission
from fastformers.tasks.example import Example
from fastformers.tasks.spans import word_span
from fastformers.tasks.task import Split, Task, TaskFiles
from fastformers.token_spans import Span

__all__ = ["SUPERGLUE", "copa_stem"]

_TRUTH = ("True", "False")
_ENTAILMENT = ("entailment", "not_entailment")
_CONNECTIVES = {"cause": "because", "effect": "so"}
_CHOICES = ("choice1", "choice2")


def _label(row: Row, task: Task, split: Split, value: Any = None) -> int | None:
    """Index of a row's label; ``None`` where a test file has none."""
    value = row.values.get("label") if value is None else value
    if value is None:
        if split == "test":
            return None
        raise row.error(f"has no label, which the {split} set needs")
    if isinstance(value, bool) or (task.labels == _TRUTH and value in ("true", "false")):
        value = str(value).capitalize()
    elif isinstance(value, int):
        value = str(value)
    if not isinstance(value, str):
        raise row.error(f"'label' is {short(value)}, must be a text, a whole number, true or false")
    return task.label_index(row, value)


def _pair(first: str, second: str, row: Row, task: Task, split: Split) -> Iterator[Example]:
    yield Example(str(row.number()), row.text(first), row.text(second), _label(row, task, split))


def _copa(row: Row, task: Task, split: Split) -> Iterator[Example]:
    stem = _stem(row)
    first, second = (f"{stem} {row.text(choice)}" for choice in _CHOICES)
    yield Example(str(row.number()), first, second, _label(row, task, split))


def _copa_choices(row: Row, task: Task, split: Split) -> Iterator[Example]:
    stem, number, right = _stem(row), row.number(), _label(row, task, split)
    for index, choice in enumerate(_CHOICES):
        yield Example(
            guid=f"{number}-{index}",
            text=stem,
            text_pair=row.text(choice),
            label=None if right is None else int(index == right),
            group=str(number),
            facts={"row": number, "choice": index},
        )


def _stem(row: Row) -> str:
    question = row.text("question")
    if question not in _CONNECTIVES:
        raise row.error(f"'question' is {short(question)}, must be 'cause' or 'effect'")
    return copa_stem(row, question)


def copa_stem(row: Row, question: str) -> str:
    """What a choice of COPA continues: the premise without its full stop, and the question's connective."""
    return f"{row.text('premise')[:-1]} {_CONNECTIVES[question]}"


def _multirc(row: Row, task: Task, split: Split) -> Iterator[Example]:
    passage = row.object("passage")
    text, passage_number = passage.text("text"), row.number()
    for question in passage.objects("questions"):
        asked, question_number = question.text("question"), question.number()
        for answer in question.objects("answers"):
            candidate = answer.field("text", str)
            if not candidate.strip():
                if split == "train":
                    continue
                candidate = "no"
            numbers = {"passage": passage_number, "question": question_number, "answer": answer.number()}
            yield Example(
                guid="-".join(map(str, numbers.values())),
                text=f"{text} {asked}",
                text_pair=candidate,
                label=_label(answer, task, split),
                group=f"{passage_number}-{question_number}",
                keep_from=len(text) + 1,
                facts=numbers,
            )


def _record(row: Row, task: Task, split: Split) -> Iterator[Example]:
    passage = row.object("passage")
    text, passage_number = passage.text("text"), row.number()
    entities = [_entity(each, text) for each in passage.objects("entities")]
    for question in row.objects("qas"):
        query, query_number = question.text("query"), question.number()
        if "@placeholder" not in query:
            raise question.error("the query has no @placeholder to fill")
        answers = _answers(question, split)
        for number, entity in enumerate(entities):
            yield Example(
                guid=f"{passage_number}-{query_number}-{number}",
                text=text,
                text_pair=query.replace("@placeholder", entity),
                label=None if answers is None else int(entity in answers),
                group=f"{passage_number}-{query_number}",
                answer=entity,
                facts={"query": query_number, "answers": answers},
            )


def _entity(place: Row, passage: str) -> str:
    """Text of an entity; its last character is at ``end``, not before it."""
    start, end = place.number("start"), place.number("end")
    if not 0 <= start <= end < len(passage) or not passage[start : end + 1].strip():
        raise place.error(f"marks characters {start} to {end} of a passage of {len(passage)}")
    return passage[start : end + 1]


def _answers(question: Row, split: Split) -> tuple[str, ...] | None:
    if split == "test" and "answers" not in question.values:
        return None
    answers = tuple(answer.text("text") for answer in question.objects("answers"))
    if not answers:
        raise question.error(f"has no answer, which the {split} set needs")
    return answers


def _wic(row: Row, task: Task, split: Split) -> Iterator[Example]:
    texts = row.text("sentence1"), row.text("sentence2")
    spans = tuple(_characters(row, number, text) for number, text in enumerate(texts, start=1))
    yield Example(str(row.number()), texts[0], texts[1], _label(row, task, split), spans)


def _characters(row: Row, number: int, text: str) -> Span:
    start, end = row.number(f"start{number}"), row.number(f"end{number}")
    if not 0 <= start < end <= len(text) or not text[start:end].strip():
        raise row.error(
            f"start{number} and end{number} mark [{start}, {end}) of a text of {len(text)} characters"
        )
    return start, end


def _wsc(row: Row, task: Task, split: Split) -> Iterator[Example]:
    text, target = row.text("text"), row.object("target")
    spans = tuple(_words(target, number, text) for number in (1, 2))
    yield Example(str(row.number()), text, None, _label(row, task, split), spans)


def _words(target: Row, number: int, text: str) -> Span:
    word = target.number(f"span{number}_index")
    span = word_span(text, word, target.text(f"span{number}_text"))
    if span is None or not text[span[0] : span[1]].strip():
        raise target.error(f"span{number}_index is {word}, which is no word of the text")
    return span


def _files(folder: str, **names: str) -> TaskFiles:
    return TaskFiles(folder, names or {split: f"{split}.jsonl" for split in ("train", "val", "test")})


_premise_pair = partial(_pair, "premise", "hypothesis")
_by_label = metrics.Classification(("accuracy",))

SUPERGLUE: tuple[Task, ...] = (
    Task(
        name="boolq",
        kind="classification",
        labels=_TRUTH,
        score_metrics=("accuracy",),
        files=_files("BoolQ"),
        reader=partial(_pair, "passage", "question"),
        metrics=_by_label,
        submission=submission.lower_case_lines,
        submission_name="BoolQ.jsonl",
    ),
    Task(
        name="cb",
        kind="classification",
        labels=("entailment", "contradiction", "neutral"),
        score_metrics=("accuracy", "f1_macro"),
        files=_files("CB"),
        reader=_premise_pair,
        metrics=metrics.Classification(("accuracy", "f1_macro")),
        submission=submission.label_lines,
        submission_name="CB.jsonl",
    ),
    Task(
        name="copa",
        kind="classification",
        labels=("0", "1"),
        score_metrics=("accuracy",),
        files=_files("COPA"),
        reader=_copa,
        metrics=_by_label,
        submission=submission.index_lines,
        submission_name="COPA.jsonl",
    ),
    Task(
        name="copa-choices",
        kind="classification",
        labels=("0", "1"),
        score_metrics=("accuracy",),
        files=_files("COPA"),
        reader=_copa_choices,
        metrics=metrics.choices,
        submission=submission.choice_lines,
        submission_name="COPA.jsonl",
        picks_one=True,
    ),
    Task(
        name="multirc",
        kind="classification",
        labels=("0", "1"),
        score_metrics=("exact_match", "f1_questions"),
        files=_files("MultiRC"),
        reader=_multirc,
        metrics=metrics.multirc,
        submission=submission.multirc_lines,
        submission_name="MultiRC.jsonl",
    ),
    Task(
        name="record",
        kind="classification",
        labels=("0", "1"),
        score_metrics=("exact_match", "f1"),
        files=_files("ReCoRD"),
        reader=_record,
        metrics=metrics.record,
        submission=submission.record_lines,
        submission_name="ReCoRD.jsonl",
        picks_one=True,
    ),
    Task(
        name="rte",
        kind="classification",
        labels=_ENTAILMENT,
        score_metrics=("accuracy",),
        files=_files("RTE"),
        reader=_premise_pair,
        metrics=_by_label,
        submission=submission.label_lines,
        submission_name="RTE.jsonl",
    ),
    Task(
        name="wic",
        kind="spans",
        labels=_TRUTH,
        score_metrics=("accuracy",),
        files=_files("WiC"),
        reader=_wic,
        metrics=_by_label,
        submission=submission.lower_case_lines,
        submission_name="WiC.jsonl",
        span_texts=(0, 1),
    ),
    Task(
        name="wsc",
        kind="spans",
        labels=_TRUTH,
        score_metrics=("accuracy",),
        files=_files("WSC"),
        reader=_wsc,
        metrics=metrics.wsc,
        submission=submission.label_lines,
        submission_name="WSC.jsonl",
        span_texts=(0, 0),
    ),
    Task(
        name="axb",
        kind="classification",
        labels=_ENTAILMENT,
        score_metrics=("matthews",),
        files=_files("AX-b", test="AX-b.jsonl"),
        reader=partial(_pair, "sentence1", "sentence2"),
        metrics=metrics.Classification(("accuracy", "matthews")),
        submission=submission.text_index_lines,
        submission_name="AX-b.jsonl",
        trains_as="rte",
    ),
    Task(
        name="axg",
        kind="classification",
        labels=_ENTAILMENT,
        score_metrics=("accuracy",),
        files=_files("AX-g", test="AX-g.jsonl"),
        reader=_premise_pair,
        metrics=metrics.gender_pairs,
        submission=submission.label_lines,
        submission_name="AX-g.jsonl",
        trains_as="rte",
    ),
)
