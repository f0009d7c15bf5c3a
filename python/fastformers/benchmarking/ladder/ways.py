# SPDX-License-Identifier: MIT
"""How a row answers, as a table: torch, INT8 layers in torch, the engine, instances, processes, large batches on a GPU.

All start from text and tokenize it themselves, each call for itself, as a service would.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastformers.benchmarking.ladder.models import LadderModels
from fastformers.benchmarking.ladder.rungs import Rung
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.benchmarking.ladder.systems import SystemModel, Systems
from fastformers.benchmarking.subjects import Subject, subject_of
from fastformers.benchmarking.tune import FolderEngines, InstanceProcesses
from fastformers.config import Fp16Config, TorchConfig, TorchPadding
from fastformers.encoder_plan import OutputPlan
from fastformers.gpu.half import to_fp16
from fastformers.gpu.torch_model import TorchModel
from fastformers.kernels import NativeEncoder
from fastformers.modules.model_bytes import model_bytes
from fastformers.quantization.twin import quantized_twin
from fastformers.recipes.model_folder import OpenedModel
from fastformers.runtime.artefact import load_artefact
from fastformers.runtime.artefact_folder import read_artefact
from fastformers.runtime.engine import Engine
from fastformers.runtime.tuning import Arrangement
from fastformers.span_text import SpanText
from fastformers.tasks import Collator, Example, TaskFile, accepted_inputs
from fastformers.tokenization import Text, TruncationWarning

__all__ = ["WAYS", "Contestant", "Way", "open_contestant"]

_BYTES_PER_MB = 1e6
_CALLERS_OF_AN_INSTANCE = 2
#: Pieces of one text each: no request shares a forward pass with another.
_ONE_TEXT = 1


@dataclass(frozen=True)
class Contestant:
    """A row, ready to answer.

    Attributes:
        timed: seconds from handing texts in to the last answer, in requests of the batch size; under load several
            requests are computed at once.
        alone: seconds of each text, nothing else in flight.
        memory_mb: memory of weights and scratch, in 10^6 bytes.
        under_load: ``timed`` computes several requests at once, so ``alone`` must be measured apart.
        scored: opens the model whose score is the row's.
        precision: names that score among those of the same model.
        in_large_batches: the whole round is answered at once, so it is warmed up as a whole, and ``alone`` is asked of
            a few texts only.
    """

    timed: Callable[[Sequence[Text]], float]
    alone: Callable[[Sequence[Text]], list[float]]
    memory_mb: Callable[[], float]
    under_load: bool
    scored: Callable[[], OpenedModel]
    precision: str
    in_large_batches: bool = False


@dataclass(frozen=True)
class _Opening:
    """What a contestant is made with."""

    rung: Rung
    models: LadderModels
    settings: LadderSettings
    stack: ExitStack

    @property
    def opened(self) -> OpenedModel:
        return self.models.opened(self.rung.model)

    def task_file(self) -> TaskFile:
        return self.opened.required_task()


@dataclass(frozen=True)
class Way:
    """One way to answer.

    Attributes:
        open: makes the contestant.
        kind: for readers of the JSON: which software answers.
        covers: whether it can answer these models with these settings.
        identity: of what answers: changes where its times or its score may.
    """

    open: Callable[[_Opening], Contestant]
    kind: str
    covers: Callable[[Systems, LadderSettings], bool] = lambda systems, settings: True
    identity: Callable[[LadderModels, SystemModel], str] = lambda models, model: model.identity


def open_contestant(
    rung: Rung, models: LadderModels, settings: LadderSettings, stack: ExitStack
) -> Contestant:
    """Makes a row ready.

    Args:
        rung: the row.
        models: opens and compiles its model.
        settings: threads, instances, batch size.
        stack: closes engines and processes when it is closed.

    Raises:
        FastformersError: the model cannot be compiled or served; says why.
    """
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore", TruncationWarning)  # every row cuts at the same length
    return WAYS[rung.way].open(_Opening(rung, models, settings, stack))


# --- torch ------------------------------------------------------------------------------------------------------------


def _padded(opening: _Opening) -> Contestant:
    length = opening.settings.padded_to(opening.task_file().max_length)
    return _torch(opening, opening.opened.model, length, "float32")


def _dynamic(opening: _Opening) -> Contestant:
    return _torch(opening, opening.opened.model, None, "float32")


def _quantized(opening: _Opening, activation: str) -> Contestant:
    opened, models = opening.opened, opening.models
    twin, _ = quantized_twin(
        opened.model,
        models.int8(activation=activation),
        tokenizer=opened.tokenizer,
        texts=models.calibration_texts(),
    )
    return _torch(opening, twin, None, f"int8 layers {activation}")


def _torch(opening: _Opening, model: Any, fixed_length: int | None, precision: str) -> Contestant:
    import torch

    inputs = _inputs_of(opening.opened, fixed_length)

    @torch.inference_mode()
    def answer(texts: Sequence[Text]) -> Any:
        return model(**accepted_inputs(model, inputs(texts))).logits

    subject = Subject(opening.rung.name, lambda text: answer([text]), answer)
    return _one_at_a_time(
        subject,
        opening.settings.request_size,
        lambda: model_bytes(model) / _BYTES_PER_MB,
        lambda: replace(opening.opened, model=model),
        precision,
    )


def _inputs_of(opened: OpenedModel, fixed_length: int | None) -> Callable[[Sequence[Text]], dict[str, Any]]:
    """Texts -> tensors of a batch, padded to its longest text or to a fixed length."""
    task_file, tokenizer = opened.required_task(), opened.tokenizer
    collator = Collator(tokenizer, fixed_length)

    def tokenized(texts: Sequence[Text], **padding: Any) -> Mapping[str, Any]:
        pairs = [text if isinstance(text, tuple) else (text, None) for text in texts]
        seconds = [second for _, second in pairs]
        found: Mapping[str, Any] = tokenizer(
            [first for first, _ in pairs],
            None if seconds[0] is None else seconds,
            truncation=True,
            max_length=task_file.max_length,
            **padding,
        )
        return found

    def plain(texts: Sequence[Text]) -> dict[str, Any]:
        return dict(
            tokenized(texts, padding=True if fixed_length is None else "max_length", return_tensors="pt")
        )

    def padded_further(texts: Sequence[Text]) -> dict[str, Any]:
        columns = tokenized(texts)
        return dict(
            collator([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
        )

    def marked(texts: Sequence[Text]) -> dict[str, Any]:
        encoded = task_file.encode([_example(text) for text in texts], tokenizer, lost_spans="error")
        return dict(collator(list(encoded)))

    if task_file.task.span_texts:
        return marked
    return plain if fixed_length in (None, task_file.max_length) else padded_further


def _example(text: Text) -> Example:
    assert isinstance(text, SpanText)
    return Example("", text.text, text.text_pair, spans=tuple(text.spans))


# --- engines ----------------------------------------------------------------------------------------------------------


def _engine(opening: _Opening, threads: int | None = None) -> Contestant:
    count = opening.settings.thread_count if threads is None else threads
    engine = opening.stack.enter_context(
        Engine.from_pretrained(opening.models.compiled(opening.rung.model), instances=1, threads=count)
    )
    return _engine_alone(opening, engine, "int8")


def _engine_alone(opening: _Opening, engine: Engine, precision: str) -> Contestant:
    return _one_at_a_time(
        subject_of(engine, None, 1),
        opening.settings.request_size,
        lambda: engine.memory().total_bytes / _BYTES_PER_MB,
        lambda: opening.models.compiled_model(opening.rung.model),
        precision,
    )


def _all_rows(opening: _Opening) -> Contestant:
    """The encoder puts out every token of its last layer; the head, a row of one token, is left out."""
    folder = opening.models.compiled(opening.rung.model)
    loaded, artefact = load_artefact(folder), read_artefact(folder)
    plan = replace(loaded.plan, outputs=(OutputPlan(name="logits", rows="all"),))
    tensors = {name: value for name, value in artefact.tensors.items() if not name.startswith("outputs.")}
    native = NativeEncoder(plan.to_dict(), tensors, attention=loaded.attention)
    threads = opening.settings.thread_count
    engine = opening.stack.enter_context(
        Engine(native, plan, loaded.tokenizer(), max_length=loaded.max_length, instances=1, threads=threads)
    )
    return _engine_alone(opening, engine, "int8")


def _instances(opening: _Opening) -> Contestant:
    instances, batch = opening.settings.instance_count, opening.settings.request_size
    engine = opening.stack.enter_context(
        Engine.from_pretrained(opening.models.compiled(opening.rung.model), instances=instances, threads=1)
    )
    subject: Any = subject_of(engine, None, 1)
    callers = opening.stack.enter_context(ThreadPoolExecutor(_CALLERS_OF_AN_INSTANCE * instances))

    def in_batches(texts: Sequence[Text]) -> Any:
        return list(callers.map(engine.run, _batches(texts, batch)))

    return Contestant(
        timed=partial(_seconds_of, subject.stream if batch == 1 else in_batches),
        alone=partial(_alone, subject.one),
        memory_mb=lambda: engine.memory().total_bytes / _BYTES_PER_MB,
        under_load=True,
        scored=lambda: opening.models.compiled_model(opening.rung.model),
        precision="int8",
    )


def _processes(opening: _Opening) -> Contestant:
    settings = opening.settings
    arrangement = Arrangement(instances=settings.instance_count, threads=1, batch_tokens=_ONE_TEXT)
    processes = InstanceProcesses(FolderEngines(opening.models.compiled(opening.rung.model)), arrangement)
    opening.stack.callback(processes.close)
    return Contestant(
        timed=processes.seconds_of,
        alone=processes.alone,
        memory_mb=lambda: processes.memory_bytes() / _BYTES_PER_MB,
        under_load=True,
        scored=lambda: opening.models.compiled_model(opening.rung.model),
        precision="int8",
    )


# --- large batches, on a GPU ------------------------------------------------------------------------------------------


def _large_batches(opening: _Opening, padding: TorchPadding, half: Fp16Config | None = None) -> Contestant:
    """The whole round at once: tokenized, cut into batches and computed on the settings' device."""
    import torch

    opened = opening.opened
    model: Any = opened.model.to(torch.device(opening.settings.device))
    if half is not None:
        model = to_fp16(model, half)
    config = TorchConfig(
        batch_size=opening.settings.request_size,
        max_length=opening.task_file().max_length,
        padding=padding,
    )
    answering = TorchModel(model, opened.tokenizer, config)
    return Contestant(
        timed=partial(_seconds_of, answering.logits),
        alone=partial(_alone, lambda text: answering.logits([text])),
        memory_mb=lambda: answering.memory_bytes / _BYTES_PER_MB,
        under_load=True,
        scored=lambda: replace(opened, model=model),
        precision="float32" if half is None else f"float16 {half.attention}",
        in_large_batches=True,
    )


def _without_spans(systems: Systems, _: LadderSettings) -> bool:
    """A head over spans reads all rows anyway, and texts for calibration come without spans."""
    return not (systems.task and systems.task.span_texts)


def _requests_of_one(_: Systems, settings: LadderSettings) -> bool:
    return settings.batch_size == 1


_calibrated = partial(Way, kind="torch", covers=_without_spans, identity=LadderModels.calibrated_identity)
_on_encoder = partial(Way, identity=LadderModels.encoder_identity)

WAYS: dict[str, Way] = {
    "padded": Way(_padded, "torch"),
    "dynamic": Way(_dynamic, "torch"),
    "quantized": _calibrated(partial(_quantized, activation="per_token")),
    "per_tensor": _calibrated(partial(_quantized, activation="per_tensor")),
    "engine": _on_encoder(_engine, "engine"),
    "one_thread": _on_encoder(partial(_engine, threads=1), "engine"),
    "all_rows": _on_encoder(_all_rows, "engine", _without_spans),
    "instances": _on_encoder(_instances, "instances"),
    "processes": _on_encoder(_processes, "processes", _requests_of_one),
    "batches_padded": Way(partial(_large_batches, padding="fixed"), "batches"),
    "batches_dynamic": Way(partial(_large_batches, padding="longest"), "batches"),
    "batches": Way(partial(_large_batches, padding="buckets"), "batches"),
    "half": Way(partial(_large_batches, padding="buckets", half=Fp16Config()), "batches"),
    "half_eager": Way(
        partial(_large_batches, padding="buckets", half=Fp16Config(attention="eager")), "batches"
    ),
    "half_unfilled": Way(partial(_large_batches, padding="buckets", half=Fp16Config(align=False)), "batches"),
}


# --- time -------------------------------------------------------------------------------------------------------------


def _one_at_a_time(
    subject: Any,
    batch_size: int,
    memory_mb: Callable[[], float],
    scored: Callable[[], OpenedModel],
    precision: str,
) -> Contestant:
    def in_batches(texts: Sequence[Text]) -> None:
        for batch in _batches(texts, batch_size):
            subject.many(batch)

    return Contestant(
        timed=partial(_seconds_of, in_batches),
        alone=partial(_alone, subject.one),
        memory_mb=memory_mb,
        under_load=batch_size > 1,
        scored=scored,
        precision=precision,
    )


def _batches(texts: Sequence[Text], size: int) -> list[Sequence[Text]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def _seconds_of(run: Callable[[Sequence[Text]], Any], texts: Sequence[Text]) -> float:
    start = time.perf_counter()
    run(texts)
    return time.perf_counter() - start


def _alone(one: Callable[[Text], Any], texts: Sequence[Text]) -> list[float]:
    return [_seconds_of(lambda given: one(given[0]), [text]) for text in texts]
