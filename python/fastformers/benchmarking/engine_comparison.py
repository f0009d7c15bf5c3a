# SPDX-License-Identifier: MIT
"""Compares engines on a user's own models: what ``fastformers bench`` runs.

Every pair of a model and an engine has a process of its own, pinned to the same cores with the same number of threads,
and sleeps when it is not its turn. Answers are compared with torch float32 of the same model; a fastformers artefact,
which has none, is compared with the first model beside it that has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fastformers import kernels
from fastformers.benchmarking.comparison import Comparison, ComparisonSettings, Measured
from fastformers.benchmarking.comparison_pairs import Pair, PairProcesses
from fastformers.benchmarking.comparison_texts import TextBatch, single_label, text_batches
from fastformers.benchmarking.contestant_process import ContestantError
from fastformers.benchmarking.contestants import Contestant, split_by_presence
from fastformers.benchmarking.engines import REFERENCE, chosen
from fastformers.benchmarking.engines.model_source import FolderSource
from fastformers.benchmarking.machine import machine_facts
from fastformers.errors import ConfigError, FastformersError, MissingExtraError
from fastformers.measuring import interleave

__all__ = ["compare_engines"]

Progress = Callable[[str], None]


def compare_engines(
    folders: Sequence[Path], settings: ComparisonSettings, texts: Sequence[str], progress: Progress
) -> Comparison:
    """Measures every engine on every model.

    Args:
        folders: saved by transformers, or fastformers artefacts; each with its tokenizer.
        settings: what to measure.
        texts: what the batches are made of.
        progress: called with a line for each step.

    Returns:
        Everything that was measured. An engine that could not be measured, and a length that a model does not take, is
        in ``left_out``.

    Raises:
        FormatError: a folder holds no model.
        ConfigError: unknown engine, more threads than cores, or no text long enough.
        MissingExtraError: no engine is installed.
        FastformersError: no engine could run any of the models.
    """
    engines, left_out = _installed(settings.engines)
    cores = tuple(kernels.cpus_by_core()[: settings.threads])
    if len(cores) < settings.threads:
        raise ConfigError(f"threads={settings.threads}, but this process may use {len(cores)} cores")
    batches = {str(folder): _batches_of(folder, settings, texts) for folder in folders}
    left_out |= _lengths_left_out(batches, settings.lengths)
    labels = list(dict.fromkeys(batch.label for some in batches.values() for batch in some))
    measured: list[Measured] = []
    with TemporaryDirectory() as temporary, ExitStack() as stack, _pinned_to(cores):
        processes = PairProcesses(Path(temporary), settings, cores, stack)
        for number, model in enumerate(batches):
            for pair in _pairs(model, engines, several_models=len(batches) > 1):
                progress(f"loading {pair.label}")
                processes.open(pair, f"model-{number}")
        for label in labels:
            progress(f"measuring {label}")
            ids = {m: b.sequences for m, some in batches.items() for b in some if b.label == label}
            measured += _measure(processes, ids, label, settings.rounds)
        left_out |= processes.left_out
    if not measured:
        raise FastformersError("no engine could run: " + "; ".join(left_out.values()))
    lengths = {batch.label: batch.lengths for some in batches.values() for batch in some}
    return Comparison(settings, cores, machine_facts().to_dict(), lengths, tuple(measured), left_out)


def _installed(names: Sequence[str]) -> tuple[list[Contestant], dict[str, str]]:
    try:
        wanted = chosen(list(names))
    except ValueError as error:
        raise ConfigError(f"engines: {error}") from error
    engines, missing = split_by_presence(wanted)
    if not engines:
        raise MissingExtraError(
            "no engine is installed: " + "; ".join(f"{n}: {r}" for n, r in missing.items())
        )
    return engines, missing


def _batches_of(folder: Path, settings: ComparisonSettings, texts: Sequence[str]) -> list[TextBatch]:
    with TemporaryDirectory() as temporary:
        source = FolderSource(folder, Path(temporary))
        longest, tokenizer = source.longest(), source.tokenizer()
    return text_batches(tokenizer, longest, texts, settings.lengths, settings.together)


def _lengths_left_out(batches: Mapping[str, Sequence[TextBatch]], lengths: Sequence[int]) -> dict[str, str]:
    """Lengths asked for that a model does not take, with the reason."""
    made = {model: {batch.label for batch in some} for model, some in batches.items()}
    return {
        f"{model}: {single_label(length)}": "the model or its tokenizer takes fewer tokens"
        for model in batches
        for length in lengths
        if single_label(length) not in made[model]
    }


@contextmanager
def _pinned_to(cores: Sequence[int]) -> Iterator[None]:
    """Pins this process, and those it starts, to cores; undone at the end."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _pairs(model: str, engines: Sequence[Contestant], *, several_models: bool) -> Iterator[Pair]:
    """Yields a model's pairs; first the reference, timed or not, when it is installed and the model has one."""
    reference = [] if REFERENCE.missing() or FolderSource.is_artefact(Path(model)) else [REFERENCE]
    asked = {engine.name for engine in engines}
    for engine in {engine.name: engine for engine in [*reference, *engines]}.values():
        label = f"{model}: {engine.name}" if several_models else engine.name
        yield Pair(model, engine, label, timed=engine.name in asked)


def _measure(
    processes: PairProcesses, ids: dict[str, list[list[int]]], batch: str, rounds: int
) -> Iterator[Measured]:
    """Measures one batch on all pairs that have it, in interleaved rounds."""
    answers = processes.answers(ids, batch)
    timed = [pair for pair in processes.ready if pair.timed and pair.label in answers]
    taken: dict[str, list[float]] = {}
    while len(taken) < len(timed):
        try:
            taken = interleave({pair.label: processes.reading_of(pair) for pair in timed}, rounds)
        except (
            ContestantError
        ):  # noted there; the others begin anew, for all of them have to be in every round
            timed = [pair for pair in timed if pair in processes.ready]
    for pair in timed:
        agreement = processes.agreement(pair, answers)
        yield Measured(pair.model, pair.engine.name, batch, tuple(taken[pair.label]), agreement)
