# SPDX-License-Identifier: MIT
"""Tokenised examples: nothing is padded here, marked spans become token ranges, and truncation loses nothing unsaid.

Truncation is "longest first" from the right, as the paper's. It differs in one place by default: where an example marks
the end of its first text as worth keeping (MultiRC's question, which stands behind the passage and would be the first
thing cut), the tokens before that part are cut instead. ``truncation="longest_first"`` gives the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch.utils.data import Dataset

from fastformers.errors import ConfigError
from fastformers.files.fields import short
from fastformers.tasks.example import Example
from fastformers.tasks.task import Task
from fastformers.token_spans import Span, token_span

__all__ = ["TRUNCATIONS", "EncodedExamples", "LostSpans", "Truncation", "encode"]

Truncation = Literal["keep_question", "longest_first"]
LostSpans = Literal["error", "drop"]

#: Values of :data:`Truncation`.
TRUNCATIONS: tuple[str, ...] = get_args(Truncation)

_CHUNK = 1024
_LISTS = ("input_ids", "token_type_ids")
_LOST_SPANS = get_args(LostSpans)


class EncodedExamples(Dataset[dict[str, Any]]):
    """Features of examples, one dict of plain lists each; :class:`fastformers.tasks.Collator` makes batches.

    ``input_ids``, ``token_type_ids`` if the tokenizer gives them, ``spans`` if marked, ``labels`` if known.

    Attributes:
        task: the task they are of.
        tokenizer: what made them.
        examples: the examples, in the order of the features.
        lengths: tokens of each.
        max_length: tokens after which texts were cut.
        cut: places of the examples whose texts were cut.
        dropped: guids of examples left out because truncation removed a span.
    """

    def __init__(
        self,
        task: Task,
        examples: Sequence[Example],
        features: Sequence[dict[str, Any]],
        tokenizer: Any,
        max_length: int,
        cut: frozenset[int] = frozenset(),
        dropped: tuple[str, ...] = (),
    ) -> None:
        self.task = task
        self.tokenizer = tokenizer
        self.examples = list(examples)
        self.max_length = max_length
        self.cut = cut
        self.dropped = dropped
        self.lengths: list[int] = [len(feature["input_ids"]) for feature in features]
        self._features = list(features)

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._features[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._features)

    @property
    def truncated(self) -> int:
        """How many examples were cut."""
        return len(self.cut)

    def subset(self, indices: Sequence[int]) -> EncodedExamples:
        """Returns some of the examples, in the order given."""
        return EncodedExamples(
            self.task,
            [self.examples[index] for index in indices],
            [self._features[index] for index in indices],
            self.tokenizer,
            self.max_length,
            frozenset(place for place, index in enumerate(indices) if index in self.cut),
            self.dropped,
        )


@dataclass
class _Tokens:
    """Tokens of one example: parallel lists."""

    lists: dict[str, list[int]]
    offsets: list[Span] | None
    sequences: list[int | None]

    def __len__(self) -> int:
        return len(self.lists["input_ids"])

    def without(self, first: int, last: int) -> _Tokens:
        """Cuts the tokens [first, last) out."""
        offsets = None if self.offsets is None else self.offsets[:first] + self.offsets[last:]
        lists = {name: values[:first] + values[last:] for name, values in self.lists.items()}
        return _Tokens(lists, offsets, self.sequences[:first] + self.sequences[last:])


def encode(
    examples: Sequence[Example],
    tokenizer: Any,
    task: Task,
    *,
    max_length: int,
    truncation: Truncation = "keep_question",
    lost_spans: LostSpans = "error",
) -> EncodedExamples:
    """Tokenises examples, without padding.

    Args:
        examples: of one task.
        tokenizer: of transformers; a fast one where spans, or a question to keep, ask for offset mappings.
        task: the task.
        max_length: tokens after which a text, or a pair, is cut; special tokens count.
        truncation: ``"keep_question"`` or the paper's ``"longest_first"``; see the module's text.
        lost_spans: what to do when truncation removes a token of a marked span: ``"error"``, or ``"drop"`` the example
            and list it in ``.dropped``.

    Returns:
        The features.

    Raises:
        ConfigError: no examples; a choice is unknown; ``max_length`` leaves no room for text; the tokenizer gives no
            offset mappings, or no token at all for a text; or a span was lost, or one of every example.

    Example:
        >>> encoded = encode(load_examples(task, folder, "val"), tokenizer, task, max_length=256)  # doctest: +SKIP
    """
    _check(examples, tokenizer, task, max_length, truncation, lost_spans)
    kept: list[Example] = []
    features: list[dict[str, Any]] = []
    dropped: list[str] = []
    cut: set[int] = set()
    encoder = _Encoder(tokenizer, task, max_length, truncation)
    for example, whole in encoder.whole(examples):
        tokens = encoder.cut(example, whole)
        spans = encoder.spans(example, whole, tokens)
        if spans is None and lost_spans == "error":
            raise ConfigError(
                f"example {example.guid}: cut to max_length={max_length} tokens it loses a marked span; it has "
                f"{len(whole)}: raise max_length, or leave such examples out with lost_spans='drop'"
            )
        if spans is None:
            dropped.append(example.guid)
            continue
        if not len(tokens):
            raise ConfigError(
                f"example {example.guid}: the tokenizer gives no token for {short(example.text)}: leave the example out"
            )
        if tokens is not whole:
            cut.add(len(kept))
        kept.append(example)
        features.append(_feature(example, tokens, spans))
    if not kept:
        raise ConfigError(
            f"all {len(dropped)} examples lost a marked span, cut to max_length={max_length} tokens: raise max_length"
        )
    return EncodedExamples(task, kept, features, tokenizer, max_length, frozenset(cut), tuple(dropped))


def _check(
    examples: Sequence[Example], tokenizer: Any, task: Task, max_length: int, truncation: str, lost_spans: str
) -> None:
    if not examples:
        raise ConfigError("there are no examples to encode")
    for name, value, allowed in (
        ("truncation", truncation, TRUNCATIONS),
        ("lost_spans", lost_spans, _LOST_SPANS),
    ):
        if value not in allowed:
            raise ConfigError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
    special = tokenizer.num_special_tokens_to_add(pair=any(example.text_pair for example in examples))
    if max_length <= special:
        raise ConfigError(
            f"max_length is {max_length}, of which {special} are special tokens: no room for text"
        )
    needs_offsets = bool(task.span_texts) or any(example.keep_from for example in examples)
    if needs_offsets and not tokenizer.is_fast:
        raise ConfigError(
            f"{task.name} needs offset mappings, which {type(tokenizer).__name__} does not give: use a fast tokenizer"
        )


class _Encoder:
    """Tokenises whole texts, and cuts those that are too long."""

    def __init__(self, tokenizer: Any, task: Task, max_length: int, truncation: Truncation) -> None:
        self._tokenizer = tokenizer
        self._task = task
        self._max_length = max_length
        self._truncation = truncation

    def whole(self, examples: Sequence[Example]) -> Iterator[tuple[Example, _Tokens]]:
        for start in range(0, len(examples), _CHUNK):
            chunk = examples[start : start + _CHUNK]
            yield from zip(chunk, self._tokenize(chunk, truncation=False), strict=True)

    def cut(self, example: Example, whole: _Tokens) -> _Tokens:
        """Returns the tokens themselves if they are few enough."""
        excess = len(whole) - self._max_length
        if excess <= 0:
            return whole
        if example.keep_from and self._truncation == "keep_question":
            before = [
                index
                for index, text in enumerate(whole.sequences)
                if text == 0 and whole.offsets is not None and whole.offsets[index][1] <= example.keep_from
            ]
            if len(before) >= excess:
                return whole.without(before[-excess], before[-1] + 1)
            example = replace(example, text=example.text[example.keep_from :], keep_from=0)
        return self._tokenize([example], truncation="longest_first", max_length=self._max_length)[0]

    def spans(self, example: Example, whole: _Tokens, tokens: _Tokens) -> list[list[int]] | None:
        """Token ranges of the marked spans; ``None`` if truncation removed a part of one."""
        found = [self._span(tokens, text, span) for text, span in self._marked(example)]
        if tokens is not whole:
            before = [self._span(whole, text, span) for text, span in self._marked(example)]
            lost = any(_width(one) != _width(other) for one, other in zip(found, before, strict=True))
            if lost:
                return None
        for span, (_, characters) in zip(found, self._marked(example), strict=True):
            if span is None:
                raise ConfigError(
                    f"example {example.guid}: the tokenizer gives no token for the span {list(characters)}: "
                    "its characters are unknown to it; leave the example out"
                )
        return [list(span) for span in found if span is not None]

    def _marked(self, example: Example) -> list[tuple[int, Span]]:
        if len(example.spans) != len(self._task.span_texts):
            raise ConfigError(
                f"example {example.guid} marks {len(example.spans)} spans; {self._task.name} has "
                f"{len(self._task.span_texts)}"
            )
        return list(zip(self._task.span_texts, example.spans, strict=True))

    def _span(self, tokens: _Tokens, text: int, span: Span) -> Span | None:
        return None if tokens.offsets is None else token_span(tokens.offsets, tokens.sequences, text, span)

    def _tokenize(self, examples: Sequence[Example], **options: Any) -> list[_Tokens]:
        pairs = [example.text_pair for example in examples]
        if any(pair is None for pair in pairs) and any(pair is not None for pair in pairs):
            return [tokens for example in examples for tokens in self._tokenize([example], **options)]
        fast = bool(self._tokenizer.is_fast)
        encoding = self._tokenizer(
            [example.text for example in examples],
            None if pairs[0] is None else pairs,
            return_attention_mask=False,
            return_offsets_mapping=fast,
            verbose=False,  # says that a whole text is longer than the model takes, before it is cut
            **options,
        )
        return [self._tokens(encoding, index, fast) for index in range(len(examples))]

    @staticmethod
    def _tokens(encoding: Any, index: int, fast: bool) -> _Tokens:
        lists = {name: list(encoding[name][index]) for name in _LISTS if name in encoding}
        if not fast:
            return _Tokens(lists, None, [None] * len(lists["input_ids"]))
        return _Tokens(lists, list(encoding["offset_mapping"][index]), list(encoding.sequence_ids(index)))


def _width(span: Span | None) -> int:
    return 0 if span is None else span[1] - span[0]


def _feature(example: Example, tokens: _Tokens, spans: list[list[int]]) -> dict[str, Any]:
    feature: dict[str, Any] = dict(tokens.lists)
    if spans:
        feature["spans"] = spans
    if example.label is not None:
        feature["labels"] = example.label
    return feature
