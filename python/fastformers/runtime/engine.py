# SPDX-License-Identifier: MIT
"""The engine: tokenizer, encoder and instances in one object that needs no torch."""

from __future__ import annotations

import numbers
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from fastformers.answers import (
    Prediction,
    RankedDocument,
    has_many_labels,
    predictions,
    rank,
    relevance,
    similarities,
)
from fastformers.counted import counted
from fastformers.encoder_plan import TOKEN_SCORES, EncoderPlan
from fastformers.errors import (
    ClosedError,
    ConfigError,
    FastformersError,
    ForkError,
    QueueFullError,
    UnsupportedModelError,
)
from fastformers.kernels import InstancePool, NativeEncoder, Ticket
from fastformers.pair_head import PairHead
from fastformers.runtime.arrangement import Count, arrange
from fastformers.runtime.artefact import load_artefact
from fastformers.runtime.encoder_calls import EncoderCalls
from fastformers.runtime.futures import CompletionThread, EngineFuture
from fastformers.runtime.readouts import Readout, readouts
from fastformers.runtime.tuning import Arrangement, Goal, Tuning, read_tuning
from fastformers.text_head import TextHead
from fastformers.tokenization import (
    RaggedBatch,
    Text,
    TextEncoder,
    TokenizedText,
    check_list,
    split_ragged,
)

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Engine", "EngineMemory", "Task"]

Task = Literal["predict", "logits", "embed"]

# Texts tokenized at once: enough for the tokenizer's own threads, few enough that instances start at once.
_TEXTS_AT_ONCE = 128
# Pieces of one call in the queue, for each instance: no instance runs dry, and other callers find room.
_PIECES_IN_FLIGHT = 3
_LEAST_PIECE_TOKENS = 64
_LONGEST_QUEUE = 1 << 32
_MILLISECONDS = 1e-3


@dataclass(frozen=True)
class EngineMemory:
    """Bytes an engine holds: one copy of the weights, whatever the number of instances, and scratch memory of each.

    Attributes:
        weight_bytes: packed weights, embeddings and everything else that all instances share.
        workspace_bytes: scratch memory of all instances together, as far as it was needed until now.
        instances: how many share it.
    """

    weight_bytes: int
    workspace_bytes: int
    instances: int

    @property
    def total_bytes(self) -> int:
        """Sum of both."""
        return self.weight_bytes + self.workspace_bytes

    def __str__(self) -> str:
        weights, workspace = self.weight_bytes / 2**20, self.workspace_bytes / 2**20
        return (
            f"{self.total_bytes / 2**20:.1f} MiB: weights {weights:.1f} MiB once, "
            f"workspace {workspace:.1f} MiB for {counted(self.instances, 'instance')}"
        )


class Engine:
    """Texts in, answers out: N instances compute at once over one packed copy of the weights.

    Instances are threads of the core, pinned to cores of their own; they hold no GIL and sleep while there is nothing
    to do. A text's answer is the same bits whatever texts come with it, whatever the arrangement. All methods may be
    called from any thread.

    Requests wait in one bounded queue: short texts pass long ones, and long ones get their share of the time too. A
    text longer than ``max_length`` is cut as the tokenizer says, and a ``TruncationWarning`` tells so once. An empty
    text is what the tokenizer makes of it (its special tokens).

    An engine belongs to the process that made it: in a forked child every call raises ``ForkError``; make a new engine
    there. An engine that is still open when the interpreter exits, or that is no longer referenced, finishes what its
    instances compute at that moment and drops the rest; :meth:`close` completes everything first.

    Args:
        native: the packed encoder; may be shared with other engines.
        plan: what it computes.
        tokenizer: its truncation strategy and its handling of pairs are used, its padding is not.
        labels: names of the classes (``id2label``).
        many_labels: a text may have several labels, each with a probability of its own (sigmoid).
        max_length: tokens after which texts are cut; ``None``, or more than the plan takes, is the plan's
            ``max_tokens``.
        token_types: tell the model which text of a pair a token belongs to, if it can be told.
        text_head: of a span classifier, which reads each text as a :class:`SpanText`, or a pair classifier.
        instances: how many compute at once.
        threads: threads of each instance.
        batch_tokens: most tokens in one piece of work; longer lists of texts are cut into several.
        pin: bind each thread to a core of its own, counted from the first one: where several engines with fewer
            threads than cores share a machine, in one process or in several, pass False, or give each process its own
            cores (``taskset``). Nothing is pinned when there are more threads than cores.
        queue: requests that may wait before :class:`fastformers.errors.QueueFullError` is raised.
        tuning: measured arrangement for what is ``"auto"``.
        goal: which of the tuning's arrangements.

    ``"auto"`` is one instance with one thread for each core, which gives the most texts a second; see
    :func:`fastformers.runtime.arrangement.arrange`. For the lowest latency of single long texts, use
    ``instances=1``; ``fastformers tune`` measures what is best.

    Raises:
        ConfigError: a number is out of range, or the labels do not fit the plan.
        FastformersError: the system has no room for that many threads.

    Example:
        >>> with Engine.from_pretrained("./my-classifier") as engine:
        ...     engine.predict(["great phone", "awful"])
        [Prediction(label='positive', score=0.98), Prediction(label='negative', score=0.95)]
    """

    def __init__(
        self,
        native: NativeEncoder,
        plan: EncoderPlan,
        tokenizer: Tokenizer,
        *,
        labels: Sequence[str] | None = None,
        many_labels: bool = False,
        max_length: int | None = None,
        token_types: bool = True,
        text_head: TextHead | None = None,
        instances: Count = "auto",
        threads: Count = "auto",
        batch_tokens: Count = "auto",
        pin: bool = True,
        queue: int = 1024,
        tuning: Tuning | None = None,
        goal: Goal = "throughput",
    ) -> None:
        longest = plan.max_tokens if max_length is None else max_length
        _check_count("max_length", longest, None)
        self._native = native
        self._plan = plan
        self._text_head = text_head
        self._readouts = readouts(plan, text_head)
        self._labels = _checked_labels(labels, self._readouts.get("logits"))
        self._many_labels = many_labels
        num_spans = 0 if text_head is None else text_head.num_spans
        only_pairs = isinstance(text_head, PairHead)
        self._texts = TextEncoder(tokenizer, min(longest, plan.max_tokens), num_spans, only_pairs=only_pairs)
        self._token_types = token_types and plan.types > 1
        self._arrangement = arrange(instances, threads, batch_tokens, tuning, goal)
        if not isinstance(pin, bool):
            raise ConfigError(f"pin is {pin!r}; allowed: True or False")
        _check_count("queue", queue, _LONGEST_QUEUE)
        self._pool = _started(native, self._arrangement, pin, queue)
        self._completion = CompletionThread(self._pool)
        self._process = os.getpid()
        self._state = threading.Condition()
        self._calls = 0
        self._closed = False
        # Runs when the engine is no longer referenced, and at exit before the interpreter takes its threads away.
        self._finalizer = weakref.finalize(self, _end, self._pool, self._process)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        instances: Count = "auto",
        threads: Count = "auto",
        batch_tokens: Count = "auto",
        pin: bool = True,
        queue: int = 1024,
        goal: Goal = "throughput",
    ) -> Engine:
        """Makes an engine from a folder that ``fastformers.save_pretrained`` wrote.

        Args:
            folder: the artefact; a ``tuning.json`` in it (``fastformers tune``) decides what is ``"auto"``.
            instances: see :class:`Engine`, as are the others.
            threads: threads of each instance.
            batch_tokens: most tokens in one piece of work.
            pin: bind threads to cores.
            queue: requests that may wait.
            goal: ``"throughput"`` or ``"latency"``: which of the tuned arrangements to use.

        Raises:
            FormatError: the folder is damaged or of a newer format.
            ConfigError: it was saved without a tokenizer, or an argument is refused.
        """
        artefact = load_artefact(folder)
        # A tuning decides only where nobody gave a number: `fastformers tune` gives some, and replaces a damaged one.
        automatic = instances == threads == batch_tokens == "auto"
        return cls(
            artefact.native,
            artefact.plan,
            artefact.tokenizer(),
            labels=artefact.labels,
            many_labels=has_many_labels(artefact.config.get("problem_type")),
            max_length=artefact.max_length,
            token_types=artefact.tokenization is None or artefact.tokenization.token_types,
            text_head=artefact.text_head,
            instances=instances,
            threads=threads,
            batch_tokens=batch_tokens,
            pin=pin,
            queue=queue,
            tuning=read_tuning(folder) if automatic else None,
            goal=goal,
        )

    def rearranged(self, arrangement: Arrangement, *, pin: bool = True, queue: int = 1024) -> Engine:
        """Makes another engine over the same packed weights, with its own instances and its own queue."""
        return Engine(
            self._native,
            self._plan,
            self._texts.tokenizer,
            labels=self._labels,
            many_labels=self._many_labels,
            max_length=self.max_length,
            token_types=self._token_types,
            text_head=self._text_head,
            instances=arrangement.instances,
            threads=arrangement.threads,
            batch_tokens=arrangement.batch_tokens,
            pin=pin,
            queue=queue,
        )

    def predict(self, texts: Sequence[Text]) -> list[Prediction]:
        """Returns the most probable label of each text (or pair) and its probability, in the order given.

        Where a text may have several labels, :meth:`logits` has all of them.

        Args:
            texts: strings, or pairs of strings as tuples; of a span classifier :class:`fastformers.SpanText`. Any
                number, any lengths.

        Raises:
            UnsupportedModelError: the model does not classify whole texts.
            ShapeError: ``texts`` is no list, or one of them is no text or cannot be tokenized; names it.
            QueueFullError: as many requests wait as may, and none of this call; told at once.
            ClosedError, ForkError: see :class:`Engine`.
        """
        return self._predictions(self._rows(texts, self._classifier()))

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Returns the model's logits.

        Returns:
            float32 [n, C]; of a model that classifies tokens, a list of n arrays float32 [tokens, C].

        Raises:
            UnsupportedModelError: the model has no logits; otherwise as :meth:`predict`.
        """
        logits = self._readout("logits")
        return self._pieces(texts, logits) if logits.per_token else self._rows(texts, logits)

    def embed(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Returns the embedding of each text, float32 [n, C], pooled and normalised as the model does.

        Raises:
            UnsupportedModelError: the model has no sentence embedding; otherwise as :meth:`predict`.
        """
        return self._rows(texts, self._embedding())

    def rerank(self, query: str, docs: Sequence[str]) -> list[RankedDocument]:
        """Orders documents by relevance to a query, best first.

        A model with one or two classes reads query and document as a pair; the score is its logit, or the second
        label's probability. Any other model with embeddings gives the cosine of the two texts' embeddings.

        Args:
            query: the question.
            docs: any number; equal scores keep their order.

        Raises:
            UnsupportedModelError: the model has neither, or reads marked spans; otherwise as :meth:`predict`.
        """
        if self._text_head is not None and self._text_head.num_spans:
            raise UnsupportedModelError(
                "rerank gives the model plain texts, and it reads texts with marked spans"
            )
        check_list(docs)
        logits = self._readouts.get("logits")
        if logits is not None and not logits.per_token and logits.columns <= 2:
            return rank(
                relevance(self._rows([(query, doc) for doc in docs], logits), many_labels=self._many_labels)
            )
        if "embedding" not in self._readouts:
            raise UnsupportedModelError(
                f"rerank needs logits of 1 or 2 classes or an embedding; the model puts out {', '.join(self._readouts)}"
            )
        return rank(similarities(self._rows([query, *docs], self._embedding())))

    def submit(
        self, text: Text, *, deadline_ms: float | None = None, task: Task | None = None
    ) -> EngineFuture[Any]:
        """Queues one text (or pair) and returns at once.

        Args:
            text: a string, a pair of strings as a tuple, or a :class:`fastformers.SpanText`.
            deadline_ms: milliseconds from now after which an answer is worthless: when no instance has begun by then,
                nothing is computed and the future raises ``DeadlineError``. What was begun is completed.
            task: what the future's result is: ``"predict"`` a :class:`Prediction`, ``"logits"`` float32 [C] (or
                [tokens, C]), ``"embed"`` float32 [C]. Default: ``"predict"`` for a classifier, else ``"logits"``, else
                ``"embed"``.

        Returns:
            A ``concurrent.futures.Future``; ``asyncio.wrap_future`` makes it awaitable, ``cancel()`` takes back what
            was not begun.

        Raises:
            QueueFullError: as many requests wait as may; told at once.
            ClosedError, ForkError, ShapeError, UnsupportedModelError: see :class:`Engine`.
        """
        if deadline_ms is not None and not (isinstance(deadline_ms, numbers.Real) and deadline_ms >= 0):
            raise ConfigError(
                f"deadline_ms is {deadline_ms!r}; allowed: None or a number of milliseconds from 0"
            )
        readout, finish = self._task(task)
        with self._call():
            batch = RaggedBatch.of(self._texts.encode([text]))
            deadline = None if deadline_ms is None else deadline_ms * _MILLISECONDS
            return self._completion.submit(
                lambda tag: self._submit(batch, readout, deadline, tag),
                lambda arrays: finish(readout.rows(arrays[0], batch)),
                keep_alive=self,
            )

    def run(self, texts: Sequence[Text], task: Task | None = None) -> Any:
        """Calls :meth:`predict`, :meth:`logits` or :meth:`embed`, as :meth:`submit` would choose.

        Args:
            texts: as there.
            task: which of them; see :meth:`submit` for the default.

        Raises:
            ConfigError: there is no such task; otherwise as :meth:`predict`.
        """
        calls: dict[Task, Callable[[Sequence[Text]], Any]] = {
            "predict": self.predict,
            "logits": self.logits,
            "embed": self.embed,
        }
        return calls[self._checked_task(task)](texts)

    def memory(self) -> EngineMemory:
        """States the bytes held: one copy of the weights, and what the instances have needed besides."""
        return EngineMemory(
            self._native.weight_bytes, self._native.workspace_bytes, self._arrangement.instances
        )

    def calls(self, task: Task | None = None) -> EncoderCalls:
        """Shows the calls behind the answers, made on the caller's thread and not by an instance.

        Args:
            task: as :meth:`submit` takes it.

        Raises:
            ClosedError, ForkError, UnsupportedModelError: see :class:`Engine`.
        """
        readout, _ = self._task(task)
        with self._call():
            return EncoderCalls(
                self._native,
                self._plan,
                (readout.output,),
                self._arrangement.threads,
                lambda texts: RaggedBatch.of(self._texts.encode(texts)),
                self._token_types,
            )

    @property
    def arrangement(self) -> Arrangement:
        """Instances, threads and tokens of a piece of work, as decided."""
        return self._arrangement

    @property
    def cpus(self) -> list[list[int]]:
        """CPUs that the threads of each instance are pinned to; empty when they are not pinned."""
        return self._pool.cpus

    @property
    def max_length(self) -> int:
        """Tokens after which a text is cut."""
        return self._texts.max_length

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, where the model has some."""
        return self._labels

    def close(self, *, drain: bool = True) -> None:
        """Refuses new calls, completes those in progress and ends the instances; may be called again.

        Args:
            drain: ``False`` drops what no instance has begun: its callers get ``ClosedError``.
        """
        self._check_process()
        with self._state:
            self._closed = True
            if drain:
                self._state.wait_for(lambda: self._calls == 0)
        self._pool.stop(drain)
        self._pool.join()
        self._completion.join()
        self._finalizer.detach()

    def __enter__(self) -> Engine:
        """Returns the engine; :meth:`close` is called at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes, after an error without computing what waits."""
        self.close(drain=kind is None)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        layers, hidden = len(self._plan.layers), self._plan.hidden
        return (
            f"Engine({counted(layers, 'layer')} x {hidden}, {counted(self._arrangement.instances, 'instance')} x "
            f"{counted(self._arrangement.threads, 'thread')}, {state})"
        )

    # --- outputs of the model -------------------------------------------------------------------------------------

    def _readout(self, name: str) -> Readout:
        if name not in self._readouts:
            raise UnsupportedModelError(
                f"the model has no {name!r}; it puts out {', '.join(self._readouts)}{self._way_out()}"
            )
        return self._readouts[name]

    def _classifier(self) -> Readout:
        readout = self._readout("logits")
        if readout.per_token:
            raise UnsupportedModelError("the model classifies tokens, not texts: use logits()")
        return readout

    def _embedding(self) -> Readout:
        if "embedding" not in self._readouts:
            raise UnsupportedModelError(
                f"the model puts out {', '.join(self._readouts)} and no sentence embedding{self._way_out()}"
            )
        readout = self._readout("embedding")
        if readout.per_token:
            raise UnsupportedModelError("the model embeds tokens, not texts")
        return readout

    def _way_out(self) -> str:
        """What to do about a model whose outputs no method of an engine gives."""
        if "last_hidden_state" in self._readouts:
            return ': for embed(), compile it with CompileConfig(pooling="mean") or "first" (--pooling)'
        if TOKEN_SCORES & self._readouts.keys():
            return ", which no method of an engine gives: call the encoder of fastformers.load(folder)"
        return ""

    def _checked_task(self, task: Task | None) -> Task:
        if task not in (None, "predict", "logits", "embed"):
            raise ConfigError(f"task is {task!r}; allowed: 'predict', 'logits', 'embed' or None")
        if task is not None:
            return task
        logits = self._readouts.get("logits")
        if logits is None:
            return "embed"
        return "logits" if logits.per_token else "predict"

    def _predictions(self, logits: NDArray[np.float32]) -> list[Prediction]:
        return predictions(logits, self._labels, many_labels=self._many_labels)

    def _task(self, task: Task | None) -> tuple[Readout, Callable[[NDArray[Any]], Any]]:
        """What a task reads, and how its answer is made of one text's rows."""
        chosen = self._checked_task(task)
        if chosen == "predict":
            return self._classifier(), lambda rows: self._predictions(rows)[0]
        if chosen == "embed":
            return self._embedding(), lambda rows: rows[0]
        readout = self._readout("logits")
        return readout, lambda rows: rows if readout.per_token else rows[0]

    # --- calls ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Counts a call in progress, so that close() can let it finish."""
        self._check_process()
        with self._state:
            if self._closed:
                raise ClosedError("the engine is closed")
            self._calls += 1
        try:
            yield
        finally:
            with self._state:
                self._calls -= 1
                self._state.notify_all()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ForkError(
                f"this engine was made in process {self._process}, before the fork: its threads do not exist in "
                f"process {os.getpid()}. An engine does not survive a fork; make a new one in the child"
            )

    def _rows(self, texts: Sequence[Text], readout: Readout) -> NDArray[np.float32]:
        """One row for each text, float32 [n, C]."""
        arrays = [readout.rows(array, batch) for array, batch in self._run(texts, readout)]
        if not arrays:
            return np.empty((0, readout.columns), np.float32)
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def _pieces(self, texts: Sequence[Text], readout: Readout) -> list[NDArray[np.float32]]:
        """The rows of each text, float32 [tokens, C]."""
        return [
            rows
            for array, batch in self._run(texts, readout)
            for rows in np.split(array, batch.offsets[1:-1])
        ]

    def _run(
        self, texts: Sequence[Text], readout: Readout
    ) -> Iterator[tuple[NDArray[np.float32], RaggedBatch]]:
        """Computes texts in pieces, a few of them in the queue at a time; yields results in order."""
        check_list(texts)
        most = self._arrangement.instances * _PIECES_IN_FLIGHT
        flying: deque[tuple[Ticket, RaggedBatch]] = deque()
        with self._call():
            try:
                for batch in self._batches(texts):
                    while len(flying) >= most:
                        yield self._result(flying)
                    ticket = self._submit_or_make_room(batch, readout, flying)
                    while ticket is None:
                        yield self._result(flying)
                        ticket = self._submit_or_make_room(batch, readout, flying)
                    flying.append((ticket, batch))
                while flying:
                    yield self._result(flying)
            finally:
                for ticket, _ in flying:
                    self._pool.cancel(ticket)

    def _batches(self, texts: Sequence[Text]) -> Iterator[RaggedBatch]:
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = self._texts.encode(texts[start : start + _TEXTS_AT_ONCE])
            yield from split_ragged(encoded, self._piece_tokens(encoded))

    def _piece_tokens(self, texts: Sequence[TokenizedText]) -> int:
        """Tokens of a piece: every instance gets one, unless that would make very small ones."""
        share = -(-sum(len(text) for text in texts) // self._arrangement.instances)
        return min(self._arrangement.batch_tokens, max(_LEAST_PIECE_TOKENS, share))

    def _submit_or_make_room(
        self, batch: RaggedBatch, readout: Readout, flying: deque[tuple[Ticket, RaggedBatch]]
    ) -> Ticket | None:
        """None when the queue is full and pieces of this call will leave it; else a full queue is an error."""
        try:
            return self._submit(batch, readout)
        except QueueFullError:
            if not flying:
                raise
            return None

    def _submit(
        self, batch: RaggedBatch, readout: Readout, deadline: float | None = None, tag: int = -1
    ) -> Ticket:
        types = batch.types if self._token_types else None
        return self._pool.submit(batch.ids, types, batch.offsets, [readout.output], deadline, tag)

    def _result(self, flying: deque[tuple[Ticket, RaggedBatch]]) -> tuple[NDArray[np.float32], RaggedBatch]:
        ticket, batch = flying[0]
        self._pool.wait(ticket)
        flying.popleft()
        return ticket.result()[0], batch


def _started(native: NativeEncoder, made: Arrangement, pin: bool, queue: int) -> InstancePool:
    try:
        return InstancePool(native, made.instances, made.threads, pin, queue)
    except RuntimeError as error:  # std::system_error of a thread that could not be made
        raise FastformersError(
            f"the system gives no {made.instances} x {made.threads} threads ({error}): choose fewer instances or "
            "threads, or raise its limit of threads or memory"
        ) from error


def _end(pool: InstancePool, process: int) -> None:
    if os.getpid() == process:
        pool.stop(False)
        pool.join()


def _check_count(name: str, value: Any, most: int | None) -> None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not is_count or (most is not None and value > most):
        limit = "" if most is None else f" to {most}"
        raise ConfigError(f"{name} is {value!r}; allowed: a whole number from 1{limit}")


def _checked_labels(labels: Sequence[str] | None, logits: Readout | None) -> tuple[str, ...] | None:
    if labels is None or logits is None:
        return None if labels is None else tuple(labels)
    if len(labels) != logits.columns:
        raise ConfigError(f"{len(labels)} labels for a model with {logits.columns} classes")
    return tuple(labels)
