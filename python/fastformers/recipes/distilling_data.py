# SPDX-License-Identifier: MIT
"""The same examples in several tokenisations, and further texts that nobody labelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastformers.errors import ConfigError, FormatError
from fastformers.files.rows import Row
from fastformers.files.text_rows import TABLES, text_rows
from fastformers.span_text import marked_text
from fastformers.tasks import EncodedExamples, Example, Task, TaskFile, load_examples
from fastformers.tasks.loading import check_second_texts
from fastformers.token_spans import Span

__all__ = ["TEST_SET", "PairData", "in_common", "pair_data", "read_unlabelled"]

#: Instead of a file of texts: the split that nobody learns labels from.
TEST_SET: Final = "test"


@dataclass(frozen=True)
class PairData:
    """Examples for a teacher and its student.

    Attributes:
        train: for the student, unlabelled ones last.
        teacher_train: the same for the teacher.
        val: for the student.
        teacher_val: the same for the teacher.
        dropped: how many examples either tokenisation lost a marked span of, and both leave out.
    """

    train: EncodedExamples
    teacher_train: EncodedExamples
    val: EncodedExamples
    teacher_val: EncodedExamples
    dropped: int


def pair_data(
    data_dir: Path,
    task_file: TaskFile,
    tokenizer: Any,
    teacher_tokenizer: Any,
    unlabelled: str | Path | None = None,
) -> PairData:
    """Reads the splits ``train`` and ``val`` and tokenises them for both models.

    Args:
        data_dir: folder of the task's files.
        task_file: the task, and how its texts are cut.
        tokenizer: the student's.
        teacher_tokenizer: the teacher's.
        unlabelled: further texts for training, as :func:`read_unlabelled` takes them.

    Raises:
        FormatError: a file is missing or malformed; names the line.
        ConfigError: texts without marks for a task that marks spans, pairs of texts in one set only, or nothing is
            left.
    """
    task = task_file.task
    train, val = (load_examples(task, data_dir, split) for split in ("train", "val"))
    check_second_texts(train, val, "val")
    if unlabelled is not None:
        further = read_unlabelled(unlabelled, task, data_dir, pairs=train[0].text_pair is not None)
        check_second_texts(train, further, TEST_SET)
        train += further
    ours = [task_file.encode(examples, tokenizer) for examples in (train, val)]
    theirs = [task_file.encode(examples, teacher_tokenizer) for examples in (train, val)]
    (ours[0], theirs[0]), (ours[1], theirs[1]) = map(in_common, zip(ours, theirs, strict=True))
    dropped = len(train) + len(val) - len(ours[0]) - len(ours[1])
    return PairData(ours[0], theirs[0], ours[1], theirs[1], dropped)


def read_unlabelled(source: str | Path, task: Task, data_dir: Path, pairs: bool) -> list[Example]:
    """Reads texts without labels: a task's test set, or a file.

    Args:
        source: ``"test"``, whose labels, if it has any, are left out; or a file: ``.txt``, one a line, or ``.csv``
            or ``.jsonl`` with ``text`` and, for pairs, ``text_pair``; of a task that marks spans ``.jsonl``, with
            ``spans``, characters [start, end) in the order of the task's own, each in the text where those are.
        task: the task whose model will answer them.
        data_dir: folder of the task's files.
        pairs: each needs a second text.

    Returns:
        The examples, at least one.

    Raises:
        FormatError: the file is missing, empty or malformed; names the line.
        ConfigError: another file than .jsonl for a task that marks spans, or a .txt file for one of pairs.
    """
    if source == TEST_SET:
        return load_examples(task, data_dir, TEST_SET, labelled=False)
    path = Path(source)
    suffix = path.suffix.lower()
    if task.span_texts and suffix != ".jsonl":
        raise ConfigError(
            f"{task.name} marks spans in its texts: give unlabelled ones as .jsonl with text, spans and, for pairs, "
            "text_pair"
        )
    if suffix not in (".txt", *TABLES):
        raise ConfigError(
            f"{path}: unlabelled texts come as .txt, one a line, as .csv or .jsonl, or from the task's test set: "
            f"{TEST_SET!r}"
        )
    if suffix == ".txt" and pairs:
        raise ConfigError(
            f"{task.name} has pairs of texts: give unlabelled ones as .csv or .jsonl with text and text_pair"
        )
    examples = list(_examples(path, task, pairs))
    if not examples:
        raise FormatError(f"{path} holds no texts")
    return examples


def _examples(path: Path, task: Task, pairs: bool) -> Iterator[Example]:
    for number, row in enumerate(text_rows(path), start=1):
        if not pairs and row.values.get("text_pair") is not None:
            raise row.error("has a text_pair; the task has single texts")
        text, pair = row.text("text"), row.text("text_pair") if pairs else None
        spans = _spans(row, task) if task.span_texts else ()
        yield Example(f"{path.name}:{number}", text, pair, spans=spans)


def _spans(row: Row, task: Task) -> tuple[Span, ...]:
    """The marked spans of a row, one where each of the task's is."""
    if row.values.get("spans") is None:
        raise row.error(f"has no field 'spans', and {task.name} marks spans in its texts")
    marked = marked_text(row, task.span_texts)
    if marked.span_texts != task.span_texts:
        raise row.error(
            f"marks spans in the texts {marked.span_texts}; {task.name} marks them in {task.span_texts}"
        )
    for text, (start, end) in marked.marked:
        if not (marked.text, marked.text_pair or "")[text][start:end].strip():
            raise row.error(f"the span [{start}, {end}) of text {text} marks white space")
    return tuple(marked.spans)


def in_common(encoded: Sequence[EncodedExamples]) -> list[EncodedExamples]:
    """Leaves out the examples that one of several tokenisations lost a span of.

    Args:
        encoded: the same examples in each.

    Raises:
        ConfigError: nothing is left.
    """
    kept = set.intersection(*({id(example) for example in each.examples} for each in encoded))
    if not kept:
        raise ConfigError("truncation removed a marked span of every example: raise max_length")
    return [
        each.subset([index for index, example in enumerate(each.examples) if id(example) in kept])
        for each in encoded
    ]
