# SPDX-License-Identifier: MIT
"""``OrtModel``: an exported model on ONNX Runtime, called as the engine is; imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastformers import kernels
from fastformers.answers import (
    Prediction,
    RankedDocument,
    predictions,
    rank,
    relevance,
    similarities,
    stacked,
    unpadded,
)
from fastformers.errors import (
    ClosedError,
    ConfigError,
    DtypeError,
    ForkError,
    FormatError,
    ShapeError,
    UnsupportedModelError,
)
from fastformers.export.report import DESCRIPTION_SCHEMA, description_file, model_file
from fastformers.export.session import open_session, session_options
from fastformers.files.strict_json import read_json
from fastformers.tokenization import Text, TextEncoder, TokenizedText, check_list, splits_special_tokens

__all__ = ["OrtModel"]

_MOST_TEXTS, _MOST_TOKENS = 32, 4096
_MOST_DESCRIPTION_BYTES = 1 << 20
_LONGEST = 1 << 24
_TOKENIZER, _TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
_EMBEDDINGS = ("embedding", "sentence_embedding")

Arrays = dict[str, NDArray[Any]]


class OrtModel:
    """Texts in, answers out, computed by ONNX Runtime.

    Lists of texts are computed in batches of similar lengths. With several instances, batches are computed at the same
    time by threads that share one session, and so one copy of the weights (the paper has a process for each, with a
    copy).

    Args:
        path: folder that :func:`fastformers.export_onnx` wrote.
        precision: which of its graphs; ``None`` for the only one. The form of ``"int8-fastformers"`` with a
            node for each layer is ``"int8-fastformers-layers"``.
        threads: threads of an instance; ``None``: the cores there are, divided by the instances. Refused for
            ``"int8-fastformers"``, whose operators take their number from ``FASTFORMERS_NUM_THREADS`` and share it.
        instances: batches computed at the same time. With more than one, calls in a forked child raise ``ForkError``.

    Raises:
        ConfigError: the folder has no such graph, or several and ``precision`` names none; a count is out of range.
        FormatError: a file is damaged, or ONNX Runtime refuses the graph.
        MissingExtraError: ONNX Runtime is absent or too old.

    Example:
        >>> with OrtModel("my-bert-onnx", "int8") as model:  # doctest: +SKIP
        ...     model.predict(["great phone", "awful"])
    """

    def __init__(
        self,
        path: str | Path,
        precision: str | None = None,
        *,
        threads: int | None = None,
        instances: int = 1,
    ) -> None:
        folder = Path(path)
        for name, count in (("threads", threads), ("instances", instances)):
            if count is not None and (type(count) is not int or not 1 <= count <= 1024):
                raise ConfigError(f"{name} is {count!r}; allowed: a whole number from 1 to 1024")
        graph = _graph(folder, precision)
        description = _description(folder / description_file(graph))
        self.precision: str = description["precision"]
        native = self.precision == "int8-fastformers"
        if native and threads is not None:
            raise ConfigError(
                f"threads={threads} has no effect on 'int8-fastformers': set FASTFORMERS_NUM_THREADS before the first "
                "model is opened"
            )
        self.instances = instances
        self.threads = threads or max(
            1, kernels.default_threads() if native else kernels.num_threads() // instances
        )
        self._outputs: tuple[str, ...] = tuple(description["outputs"])
        self._inputs: tuple[str, ...] = tuple(description["inputs"])
        self._token_types: bool = description["token_types"]
        self._many_labels: bool = description["many_labels"]
        options = session_options(self.threads, shared_cores=instances > 1, native=native)
        self._session = open_session(folder / model_file(graph), options)
        _check_described(folder / description_file(graph), description, self._session)
        self._labels = _labels(description, self._session)
        self._num_spans = _spans_read(self._session)
        self._texts = _text_encoder(folder, description, self._num_spans)
        self._pool = ThreadPoolExecutor(instances) if instances > 1 else None
        self._process = os.getpid()
        self._closed = False

    def predict(self, texts: Sequence[Text]) -> list[Prediction]:
        """Returns the most probable label of each text (or pair) and its probability, in the order given.

        A span model reads :class:`fastformers.SpanText`, here as everywhere.

        Raises:
            UnsupportedModelError: the model does not classify whole texts.
        """
        logits = stacked(self._whole_texts("logits", texts))
        return predictions(logits, self._labels, many_labels=self._many_labels) if texts else []

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Returns the model's logits: float32 [n, C]; of a model that classifies tokens, n arrays [tokens, C].

        Raises:
            UnsupportedModelError: the model has no logits.
        """
        rows = self._rows(self._named("logits"), texts)
        return rows if rows and rows[0].ndim == 2 else stacked(rows)

    def embed(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Returns the embedding of each text, float32 [n, C], pooled and normalised as the model does.

        Raises:
            UnsupportedModelError: the model has no sentence embedding.
        """
        return stacked(self._whole_texts(self._embedding(), texts))

    def rerank(self, query: str, docs: Sequence[str]) -> list[RankedDocument]:
        """Orders documents by relevance to a query, best first; see :meth:`fastformers.Engine.rerank`.

        Raises:
            UnsupportedModelError: the model has neither scores nor embeddings, or reads marked spans.
        """
        if self._num_spans:
            raise UnsupportedModelError(
                "rerank gives the model plain texts, and it reads texts with marked spans"
            )
        check_list(docs)
        if not docs:
            return []
        if self._scores_pairs():
            return rank(
                relevance(
                    stacked(self._whole_texts("logits", [(query, doc) for doc in docs])),
                    many_labels=self._many_labels,
                )
            )
        return rank(similarities(self.embed([query, *docs])))

    def run(
        self,
        input_ids: NDArray[Any],
        attention_mask: NDArray[Any] | None = None,
        token_type_ids: NDArray[Any] | None = None,
        spans: NDArray[Any] | None = None,
    ) -> Arrays:
        """Computes a padded batch.

        Args:
            input_ids: int64 [batch, length].
            attention_mask: 0 and 1, the same shape; ``None`` keeps every token.
            token_type_ids: the same shape; ``None`` is all 0.
            spans: of a span model: int64 [batch, spans, 2], token ranges [start, end).

        Returns:
            Output -> float32 array.

        Raises:
            ShapeError: a shape that the graph refuses, spans that are missing, an id out of range, or a mask that
                leaves nothing of a sequence or makes gaps in it; says which.
            DtypeError: numbers that are not whole.
        """
        self._check_open()
        ids = _whole("input_ids", input_ids)
        given = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids)
            if attention_mask is None
            else _whole("attention_mask", attention_mask),
            "token_type_ids": np.zeros_like(ids)
            if token_type_ids is None
            else _whole("token_type_ids", token_type_ids),
        }
        if spans is not None:
            given["spans"] = _whole("spans", spans)
        missing = [name for name in self._inputs if name not in given]
        if missing:
            raise ShapeError(f"the model reads {missing[0]}, which is missing")
        if ids.ndim != 2 or any(
            given[name].shape != ids.shape for name in ("attention_mask", "token_type_ids")
        ):
            shapes = ", ".join(f"{name} {list(given[name].shape)}" for name in given if name != "spans")
            raise ShapeError(f"expected one shape [batch, length] of all inputs, got {shapes}")
        _check_numbers(given)
        return self._computed({name: given[name] for name in self._inputs})

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes; ``None`` where the model names none."""
        return self._labels

    def close(self) -> None:
        """Lets calls in progress finish and ends the threads; later calls raise ``ClosedError``."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown()

    def __enter__(self) -> OrtModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this OrtModel is closed")
        if self._pool is not None and os.getpid() != self._process:  # its work would wait for ever
            raise ForkError(
                f"this OrtModel was made in process {self._process}, before the fork: the threads of its "
                f"{self.instances} instances do not exist in process {os.getpid()}. Make a new one in the child"
            )

    def _computed(self, inputs: Arrays) -> Arrays:
        try:
            return dict(zip(self._outputs, self._session.run(list(self._outputs), inputs), strict=True))
        except Exception as error:  # of many classes, with no common one that is public
            raise ShapeError(f"ONNX Runtime cannot compute this batch: {error}") from error

    def _scores_pairs(self) -> bool:
        """Whether there are logits of one or two classes for whole texts."""
        shapes = {entry.name: entry.shape for entry in self._session.get_outputs()}
        shape = shapes.get("logits", ())
        return len(shape) == 2 and shape[1] <= 2

    def _named(self, name: str) -> str:
        if name not in self._outputs:
            raise UnsupportedModelError(f"the model has no {name}; it puts out {', '.join(self._outputs)}")
        return name

    def _embedding(self) -> str:
        found = next((name for name in _EMBEDDINGS if name in self._outputs), None)
        if found is None:
            raise UnsupportedModelError(
                f"the model puts out {', '.join(self._outputs)} and no sentence embedding: export it with "
                'CompileConfig(pooling="mean") or "first"'
            )
        return found

    def _whole_texts(self, name: str, texts: Sequence[Text]) -> list[NDArray[np.float32]]:
        rows = self._rows(self._named(name), texts)
        if rows and rows[0].ndim != 1:
            raise UnsupportedModelError(f"the model gives {name} for each token, not for whole texts")
        return rows

    def _rows(self, name: str, texts: Sequence[Text]) -> list[NDArray[np.float32]]:
        """An output of each text, [C], or [tokens, C], in the order given."""
        if self._texts is None:
            raise ConfigError(
                f"the folder has no {_TOKENIZER}: export with tokenizer=..., or call run() with token ids"
            )
        self._check_open()
        encoded = self._texts.encode(texts)
        groups = _groups(encoded)
        compute: Callable[[list[int]], Arrays] = lambda group: self._computed(  # noqa: E731
            self._padded([encoded[index] for index in group])
        )
        try:
            results = map(compute, groups) if self._pool is None else self._pool.map(compute, groups)
        except RuntimeError:
            self._check_open()  # closed since the texts were tokenized: the threads take no more work
            raise
        found = ((group, outputs[name]) for group, outputs in zip(groups, results, strict=True))
        return unpadded(found, list(map(len, encoded)))

    def _padded(self, texts: Sequence[TokenizedText]) -> Arrays:
        shape = (len(texts), max(map(len, texts)))
        arrays = {
            name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
        }
        for row, text in enumerate(texts):
            arrays["input_ids"][row, : len(text)] = text.ids
            arrays["attention_mask"][row, : len(text)] = 1
            if self._token_types:
                arrays["token_type_ids"][row, : len(text)] = text.types
        if self._num_spans:
            arrays["spans"] = np.stack([text.spans for text in texts if text.spans is not None])
        return {name: arrays[name] for name in self._inputs}


def _whole(name: str, values: Any) -> NDArray[np.int64]:
    """An input as int64; NumPy would cut fractions off without a word."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise ShapeError(
            f"{name} is no array of one shape [batch, length]: fill its rows up, and mask the filling"
        ) from error
    if array.dtype.kind not in "biuf":
        raise DtypeError(
            f"{name} is {array.dtype}: pass token ids as int64, or texts to predict, logits or embed"
        )
    if array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        raise DtypeError(f"{name} is {array.dtype} and holds numbers that are not whole: pass int64")
    return array.astype(np.int64)


def _check_numbers(given: Arrays) -> None:
    """Refuses what stock operators would answer all the same: they count negative ids from the end of the table."""
    for name in ("input_ids", "token_type_ids"):
        if (given[name] < 0).any():
            raise ShapeError(f"{name} holds {given[name].min()}, out of range")
    mask = given["attention_mask"]
    if not ((mask == 0) | (mask == 1)).all():
        raise ShapeError("attention_mask holds other numbers than 0 and 1")
    if not mask.size or mask.all():
        return
    kept = mask.sum(axis=1)
    if not kept.all():
        raise ShapeError(f"attention_mask leaves no token of sequence {int(kept.argmin())}")
    gaps = mask.shape[1] - mask[:, ::-1].argmax(axis=1) - mask.argmax(axis=1) != kept
    if gaps.any():
        raise ShapeError(
            f"attention_mask leaves out tokens inside sequence {int(gaps.argmax())}: only padding at the ends can be "
            "left out"
        )


def _groups(texts: Sequence[TokenizedText]) -> list[list[int]]:
    """Deals texts into batches of similar lengths, longest first."""
    groups: list[list[int]] = []
    for index in sorted(range(len(texts)), key=lambda index: -len(texts[index])):
        longest = len(texts[groups[-1][0]]) if groups else 0
        if not groups or len(groups[-1]) == _MOST_TEXTS or (len(groups[-1]) + 1) * longest > _MOST_TOKENS:
            groups.append([])
        groups[-1].append(index)
    return groups


def _graph(folder: Path, precision: str | None) -> str:
    """The name of the graph to open."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: it must be one that export_onnx wrote")
    found = sorted(path.stem.removeprefix("model-") for path in folder.glob("model-*.onnx"))
    there = ", ".join(found)
    if not found:
        raise ConfigError(f"{folder} holds no export (model-*.onnx): write one with export_onnx")
    if precision is None and len(found) != 1:
        raise ConfigError(f"{folder} holds these precisions: {there}; name the one to use")
    chosen = precision or there
    if chosen not in found:
        raise ConfigError(f"{folder} holds no export in {chosen!r}; it holds: {there}")
    return chosen


def _description(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FormatError(f"{path} is missing: export the model again")
    description = read_json(path, _MOST_DESCRIPTION_BYTES)
    if description.get("schema") != DESCRIPTION_SCHEMA:
        raise FormatError(f"{path} has schema {description.get('schema')!r}, expected {DESCRIPTION_SCHEMA!r}")
    description.setdefault("many_labels", False)  # older ones do not say it
    fits: dict[str, Callable[[Any], bool]] = {
        "precision": lambda value: isinstance(value, str),
        "inputs": _are_words,
        "outputs": _are_words,
        "max_length": lambda value: type(value) is int and 1 <= value <= _LONGEST,
        "token_types": lambda value: isinstance(value, bool),
        "many_labels": lambda value: isinstance(value, bool),
        "labels": lambda value: value is None or _are_words(value),
    }
    for name, is_fit in fits.items():
        if not is_fit(description.get(name, ())):
            raise FormatError(f"{path}: {name} is missing or of another type")
    if description.get("truncation_side", "right") not in ("left", "right"):  # older ones do not say it
        raise FormatError(
            f"{path}: truncation_side is {description['truncation_side']!r}, neither left nor right"
        )
    return description


def _are_words(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, str) for value in values)


def _check_described(path: Path, description: dict[str, Any], session: Any) -> None:
    """Holds a description against its graph: another export's would be found out by some answer, or by none."""
    for name, there in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        names = sorted(entry.name for entry in there)
        if sorted(description[name]) != names:
            raise FormatError(f"{path}: {name} are {description[name]}, and those of the graph {names}")


def _labels(description: dict[str, Any], session: Any) -> tuple[str, ...] | None:
    """Names of the logits' columns, where there is one for each: a configuration may name others, as of the engine."""
    widths = {entry.name: entry.shape[-1] for entry in session.get_outputs()}
    names = description["labels"]
    return None if names is None or len(names) != widths.get("logits") else tuple(names)


def _spans_read(session: Any) -> int:
    """Spans of a text that the graph reads; 0 for one that reads none."""
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    return int(shapes["spans"][1]) if "spans" in shapes else 0


def _text_encoder(folder: Path, description: dict[str, Any], num_spans: int) -> TextEncoder | None:
    from tokenizers import Tokenizer

    path = folder / _TOKENIZER
    if not path.is_file():
        return None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise FormatError(f"{path} is refused by tokenizers: {error}") from error
    settings = folder / _TOKENIZER_CONFIG
    tokenizer.encode_special_tokens = settings.is_file() and splits_special_tokens(read_json(settings))
    return TextEncoder(
        tokenizer,
        description["max_length"],
        num_spans,
        description.get("truncation_side"),
        only_pairs=bool(description.get("only_pairs")),
    )
