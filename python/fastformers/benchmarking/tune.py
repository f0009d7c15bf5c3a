# SPDX-License-Identifier: MIT
"""Which arrangement of instances and threads suits a model, its texts and this machine: measured in interleaved rounds.

Throughput: a list of texts in one call, texts a second. Latency: single texts, as many at a time as there are
instances, seconds from submission to answer. Every arrangement is measured once in each round, so that a slow minute of
the machine hits all of them; the medians over the rounds are compared. Needs no torch.

``mode="processes"`` is the arrangement of the paper, for comparison: one process with one instance and a copy of the
model for each, started by spawn.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, Protocol, TypeAlias

from fastformers import kernels
from fastformers.benchmarking.measurement import NOISY
from fastformers.errors import ConfigError, FastformersError
from fastformers.measuring import interleave, percentile, spread
from fastformers.runtime.arrangement import DEFAULT_BATCH_TOKENS
from fastformers.runtime.engine import Engine
from fastformers.runtime.tuning import Arrangement, Tuning
from fastformers.tokenization import Text, TruncationWarning

__all__ = [
    "ArrangementReading",
    "FolderEngines",
    "InstanceProcesses",
    "Keeping",
    "MakeEngine",
    "Mode",
    "Row",
    "arrangements_to_try",
    "measure_arrangements",
    "tuning_of",
]

Mode = Literal["threads", "processes"]

_SECONDS_TO_START_A_PROCESS = 120.0


class MakeEngine(Protocol):
    """Makes an engine in a given arrangement; picklable, for ``mode="processes"``."""

    def __call__(self, arrangement: Arrangement) -> Engine:
        """Returns a fresh engine."""


class FolderEngines:
    """Engines of one folder: loaded once in each process, and all over the same weights.

    Args:
        folder: the artefact.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first: Engine | None = None

    def __call__(self, arrangement: Arrangement) -> Engine:
        """Returns a fresh engine."""
        if self._first is None:
            self._first = Engine.from_pretrained(self._folder, instances=1, threads=1)
        return self._first.rearranged(arrangement)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the loaded weights behind: another process loads its own."""
        return {"_folder": self._folder, "_first": None}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one arrangement reached: medians over the rounds.

    Attributes:
        mode: ``"threads"``: instances in one process; ``"processes"``: a process and a copy of the model for each.
        arrangement: instances, threads of each, tokens of a piece of work.
        texts_per_second: of the whole list.
        p50_ms: median latency of single texts, milliseconds.
        p99_ms: 99th percentile.
        memory_bytes: weights and workspace; of arrangements that share an encoder, the workspace all of them needed.
        spread: interquartile range of ``texts_per_second`` over the rounds, divided by the median.
    """

    mode: Mode
    arrangement: Arrangement
    texts_per_second: float
    p50_ms: float
    p99_ms: float
    memory_bytes: int
    spread: float = 0.0

    @property
    def noisy(self) -> bool:
        """Whether the rounds spread over 10 %: do not rely on it."""
        return self.spread > NOISY

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ArrangementReading:
    """One arrangement in one round.

    Attributes:
        texts_per_second: of the whole list.
        latencies: seconds of each text, one in flight for each instance.
    """

    texts_per_second: float
    latencies: tuple[float, ...]


#: Is given a contestant's name, the round and what takes its reading; returns that, or one that it kept.
Keeping: TypeAlias = Callable[[str, int, Callable[[], ArrangementReading]], ArrangementReading]


class _Contestant(Protocol):
    def read(self, texts: Sequence[Text]) -> ArrangementReading: ...

    def memory_bytes(self) -> int: ...

    def close(self) -> None: ...


def arrangements_to_try(
    cores: int, batch_tokens: Sequence[int] = (256, DEFAULT_BATCH_TOKENS, 4096)
) -> list[Arrangement]:
    """Every split of the cores into instances of equal size, and one instance of one thread, for each batch size.

    Args:
        cores: threads in all, at most.
        batch_tokens: sizes of a piece of work to try.

    Example:
        >>> [(a.instances, a.threads) for a in arrangements_to_try(4, [1024])]
        [(1, 1), (4, 1), (2, 2), (1, 4)]
    """
    splits = [(cores // threads, threads) for threads in range(1, cores + 1) if cores % threads == 0]
    splits = [(1, 1), *(split for split in splits if split != (1, 1))]
    return [
        Arrangement(instances=instances, threads=threads, batch_tokens=tokens)
        for instances, threads in splits
        for tokens in batch_tokens
    ]


def measure_arrangements(
    make_engine: MakeEngine,
    texts: Sequence[Text],
    arrangements: Sequence[Arrangement],
    *,
    rounds: int = 5,
    modes: Sequence[Mode] = ("threads",),
    after_reading: Callable[[str, int], None] | None = None,
    keeping: Keeping = lambda name, round_index, read: read(),
) -> list[Row]:
    """Measures every arrangement in every round; takes all rounds once more where one spread over 10 %.

    Args:
        make_engine: makes the engine of an arrangement.
        texts: at least one; lists and single requests are made of all of them.
        arrangements: what to try.
        rounds: readings of each.
        modes: ``"processes"`` measures the same arrangements with a process for each instance, too.
        after_reading: called with a name and the round, e.g. to show progress.
        keeping: takes each reading, and may give one of an earlier run instead; rounds that are taken once more have
            numbers from ``rounds``.

    Returns:
        A row for each mode and arrangement, all of the quieter rounds.

    Raises:
        ConfigError: no texts.
        FastformersError: a process did not start.
    """
    if not texts:
        raise ConfigError("no texts to tune with: at least one is needed, better a hundred like yours")
    names = [(mode, arrangement) for mode in modes for arrangement in arrangements]
    with ExitStack() as stack:
        contestants: list[_Contestant] = []
        for mode, arrangement in names:
            made = (_InThreads if mode == "threads" else InstanceProcesses)(make_engine, arrangement)
            stack.callback(made.close)
            contestants.append(made)
        for contestant in contestants:
            contestant.read(texts)  # warms up

        def taken(first_round: int) -> list[Row]:
            def reading(place: int, round_index: int) -> ArrangementReading:
                return keeping(str(place), first_round + round_index, partial(contestants[place].read, texts))

            readings = interleave(
                {str(i): partial(reading, i) for i in range(len(contestants))},
                rounds,
                after_reading=after_reading,
            )
            return [
                _row(mode, arrangement, readings[str(i)], contestants[i].memory_bytes())
                for i, (mode, arrangement) in enumerate(names)
            ]

        first = taken(0)
        return min(first, taken(rounds), key=_worst_spread) if any(row.noisy for row in first) else first


def _worst_spread(rows: Sequence[Row]) -> float:
    return max(row.spread for row in rows)


def tuning_of(rows: Sequence[Row]) -> Tuning:
    """Picks the winners among the rows of threads: most texts a second, and the lowest 99th percentile."""
    own = [row for row in rows if row.mode == "threads"]
    facts = kernels.cpu_facts()
    return Tuning(
        cores=kernels.default_threads(),
        cpu=str(facts["model"]),
        throughput=max(own, key=lambda row: row.texts_per_second).arrangement,
        latency=min(own, key=lambda row: (row.p99_ms, row.p50_ms)).arrangement,
    )


def _row(
    mode: Mode, arrangement: Arrangement, readings: Sequence[ArrangementReading], memory_bytes: int
) -> Row:
    def median(values: Iterator[float]) -> float:
        return percentile(list(values), 50)

    return Row(
        mode=mode,
        arrangement=arrangement,
        texts_per_second=median(reading.texts_per_second for reading in readings),
        p50_ms=1e3 * median(percentile(reading.latencies, 50) for reading in readings),
        p99_ms=1e3 * median(percentile(reading.latencies, 99) for reading in readings),
        memory_bytes=memory_bytes,
        spread=spread([reading.texts_per_second for reading in readings]).relative,
    )


def _read(engine: Engine, texts: Sequence[Text]) -> ArrangementReading:
    """One reading: the whole list at once, then single texts, one in flight for each instance."""
    begin = time.perf_counter()
    engine.run(texts)
    seconds = time.perf_counter() - begin
    return ArrangementReading(len(texts) / seconds, tuple(_latencies(engine, texts)))


def _latencies(engine: Engine, texts: Sequence[Text]) -> list[float]:
    """Seconds of each text, one in flight for each instance, in the order of the answers."""
    # Not of wait(): a future wakes it before its callbacks have run, and a reading would be missing.
    answered: SimpleQueue[tuple[Future[Any], float]] = SimpleQueue()

    def submit(text: Text) -> None:
        begin = time.perf_counter()
        engine.submit(text).add_done_callback(lambda done: answered.put((done, time.perf_counter() - begin)))

    latencies: list[float] = []
    waiting = iter(texts)
    for text in islice(waiting, engine.arrangement.instances):
        submit(text)
    while len(latencies) < len(texts):
        future, seconds = answered.get()
        latencies.append(seconds)
        for text in islice(waiting, 1):
            submit(text)
        future.result()
    return latencies


class _InThreads:
    """N instances in this process."""

    def __init__(self, make_engine: MakeEngine, arrangement: Arrangement) -> None:
        self._engine = make_engine(arrangement)

    def read(self, texts: Sequence[Text]) -> ArrangementReading:
        return _read(self._engine, texts)

    def memory_bytes(self) -> int:
        return self._engine.memory().total_bytes

    def close(self) -> None:
        self._engine.close()


class InstanceProcesses:
    """N processes of one instance, each with its own copy of the model; texts are dealt to them in turn.

    Args:
        make_engine: makes the engine in each process; picklable.
        arrangement: processes, threads of each, tokens of a piece of work.

    Raises:
        FastformersError: a process did not start.
    """

    def __init__(self, make_engine: MakeEngine, arrangement: Arrangement) -> None:
        context = multiprocessing.get_context("spawn")
        cores = kernels.cpus_by_core()
        self._workers: list[tuple[Any, Connection]] = []
        for index in range(arrangement.instances):
            ours, theirs = context.Pipe()
            first = index * arrangement.threads
            own = [cores[i % len(cores)] for i in range(first, first + arrangement.threads)]
            one = Arrangement(instances=1, threads=arrangement.threads, batch_tokens=arrangement.batch_tokens)
            process = context.Process(target=_serve, args=(theirs, make_engine, one, own), daemon=True)
            process.start()
            theirs.close()
            self._workers.append((process, ours))
        for _, connection in self._workers:
            self._receive(connection)

    def read(self, texts: Sequence[Text]) -> ArrangementReading:
        """Takes one reading: all texts at once, then every process its share one by one."""
        return ArrangementReading(len(texts) / self.seconds_of(texts), tuple(self._latencies(texts)))

    def seconds_of(self, texts: Sequence[Text]) -> float:
        """Seconds until all processes have answered their shares."""
        begin = time.perf_counter()
        self._ask("run", texts)
        return time.perf_counter() - begin

    def alone(self, texts: Sequence[Text]) -> list[float]:
        """Seconds of each text, in one of the processes while the others have nothing to do."""
        _, connection = self._workers[0]
        connection.send(("latencies", list(texts)))
        latencies: list[float] = self._receive(connection)
        return latencies

    def _latencies(self, texts: Sequence[Text]) -> list[float]:
        """Seconds of each text, one in flight in each process."""
        parts: list[list[float]] = self._ask("latencies", texts)
        return [value for part in parts for value in part]

    def _ask(self, verb: str, texts: Sequence[Text]) -> list[Any]:
        for index, (_, connection) in enumerate(self._workers):
            connection.send((verb, list(texts[index :: len(self._workers)])))
        return [self._receive(connection) for _, connection in self._workers]

    def memory_bytes(self) -> int:
        """Weights and scratch memory of all processes together."""
        return sum(self._ask("memory", []))

    def close(self) -> None:
        """Ends the processes."""
        for process, connection in self._workers:
            connection.close()
            process.join(timeout=10)
            if process.is_alive():
                process.kill()

    def _receive(self, connection: Connection) -> Any:
        if not connection.poll(_SECONDS_TO_START_A_PROCESS):
            raise FastformersError(
                f"an instance's process gave no answer in {_SECONDS_TO_START_A_PROCESS:g} s"
            )
        try:
            return connection.recv()
        except EOFError:
            raise FastformersError("an instance's process ended; its error is above") from None


def _serve(
    connection: Connection, make_engine: MakeEngine, arrangement: Arrangement, cpus: list[int]
) -> None:
    """The body of one process: an engine of one instance that answers until the connection is closed."""
    import os

    warnings.simplefilter("ignore", TruncationWarning)  # told by the process that began this one
    os.sched_setaffinity(0, cpus)
    with make_engine(arrangement) as engine:
        verbs: dict[str, Callable[[Sequence[Text]], object]] = {
            "run": lambda texts: len(engine.run(texts)),
            "latencies": lambda texts: _latencies(engine, texts),
            "memory": lambda _: engine.memory().total_bytes,
        }
        connection.send("ready")
        while True:
            try:
                verb, texts = connection.recv()
            except EOFError:
                return
            connection.send(verbs[verb](texts))
