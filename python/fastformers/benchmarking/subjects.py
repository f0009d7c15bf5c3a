# SPDX-License-Identifier: MIT
"""What can be measured, behind one face: engines, models with a tokenizer, and any callable."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from math import isnan
from typing import Any

from fastformers.counted import counted
from fastformers.errors import ConfigError
from fastformers.runtime.engine import Engine
from fastformers.tokenization import Text

__all__ = ["Subject", "holds_nan", "is_not_run", "model_tokens", "most_tokens", "subject_of"]

_IN_FLIGHT = 4  # requests for each instance: none runs dry, and the queue stays short
_BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class Subject:
    """One way to answer texts.

    Attributes:
        name: for people.
        one: answers a single text.
        many: answers a batch in one call.
        stream: answers texts with several at once, and returns when all are answered; ``None`` where there is none.
        at_once: how many the stream computes at once.
        own_mb: states the memory it holds itself, in 10^6 bytes; ``None`` where it is not known.
    """

    name: str
    one: Callable[[Text], Any]
    many: Callable[[Sequence[Text]], Any]
    stream: Callable[[Sequence[Text]], Any] | None = None
    at_once: int = 1
    own_mb: Callable[[], float] | None = None


def subject_of(run: Any, tokenizer: Any | None, batch_size: int) -> Subject:
    """Wraps what is to be measured.

    Args:
        run: an engine; a model that is called with a tokenizer's tensors, if ``tokenizer`` is given; or a callable of
            a text (``batch_size`` 1) or of a list of texts (above 1).
        tokenizer: of transformers.
        batch_size: texts of one call.

    Raises:
        ConfigError: it cannot be called, or is a torch model without a tokenizer.
    """
    if isinstance(run, Engine):
        return _engine(run)
    if not callable(run):
        raise ConfigError(
            f"run is {run!r}; allowed: an Engine, a model with tokenizer=, or a function of texts"
        )
    if tokenizer is not None:
        return _model(run, tokenizer)
    if _is_torch_model(run):
        raise ConfigError(f"run is a {type(run).__name__}, which does not take texts: pass tokenizer= too")
    name = getattr(run, "__qualname__", None) or type(run).__name__
    return Subject(name, run if batch_size == 1 else lambda text: run([text]), run)


def _engine(engine: Engine) -> Subject:
    def stream(texts: Sequence[Text]) -> list[Any]:
        flying: deque[Future[Any]] = deque()
        answers = []
        for text in texts:
            if len(flying) >= engine.arrangement.instances * _IN_FLIGHT:
                answers.append(flying.popleft().result())
            flying.append(engine.submit(text))
        return answers + [future.result() for future in flying]

    arrangement = engine.arrangement
    instances, threads = arrangement.instances, arrangement.threads
    return Subject(
        f"Engine, {counted(instances, 'instance')} x {counted(threads, 'thread')}",
        lambda text: engine.run([text]),
        engine.run,
        stream,
        instances,
        lambda: engine.memory().total_bytes / _BYTES_PER_MB,
    )


def _model(model: Any, tokenizer: Any) -> Subject:
    import torch

    from fastformers.modules.model_bytes import model_bytes
    from fastformers.tasks import accepted_inputs

    length = most_tokens(model, tokenizer)

    def answer(texts: Sequence[Text]) -> Any:
        batch = tokenizer(
            list(texts), padding=len(texts) > 1, truncation=True, max_length=length, return_tensors="pt"
        )
        with torch.inference_mode():
            return model(**accepted_inputs(model, dict(batch)))

    def own_mb() -> float:
        packed = getattr(model, "weight_bytes", None)
        return (model_bytes(model) if packed is None else packed) / _BYTES_PER_MB

    return Subject(
        f"{type(model).__name__} with its tokenizer",
        lambda text: answer([text]),
        answer,
        own_mb=own_mb if isinstance(model, torch.nn.Module) else None,
    )


def most_tokens(model: Any, tokenizer: Any) -> int:
    """Tokens after which a text is cut: the tokenizer's limit or the model's, whichever is smaller."""
    return min(int(tokenizer.model_max_length), model_tokens(model) or int(tokenizer.model_max_length))


def model_tokens(model: Any) -> int | None:
    """Tokens of the longest text that a model takes; ``None`` where it does not say it."""
    most: int | None = getattr(getattr(model, "plan", None), "max_tokens", None)
    if most is None and _is_torch_model(model):
        from fastformers.modules.encoder_names import positions_of

        most = positions_of(model)  # RoBERTa's table has two rows more than it takes tokens
    return most or getattr(getattr(model, "config", None), "max_position_embeddings", None)


def _is_torch_model(run: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(run, torch.nn.Module)


def is_not_run(answer: Any) -> bool:
    """Whether an answer is only the promise of one: a coroutine, a generator or a future."""
    return isinstance(answer, Awaitable | Generator | AsyncGenerator | Future)


def holds_nan(answer: Any) -> bool:
    """Whether an answer holds a NaN: in numbers, arrays, tensors, and in lists, dictionaries and records of them."""
    if isinstance(answer, float):
        return isnan(answer)
    if isinstance(answer, Mapping):
        return any(map(holds_nan, answer.values()))
    if isinstance(answer, list | tuple):
        return any(map(holds_nan, answer))
    if hasattr(answer, "dtype") and hasattr(answer, "shape"):
        return bool((answer != answer).any())  # only a NaN differs from itself; arrays and tensors alike
    if hasattr(answer, "__dataclass_fields__"):
        return any(holds_nan(getattr(answer, name)) for name in answer.__dataclass_fields__)
    return False
