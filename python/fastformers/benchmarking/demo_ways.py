# SPDX-License-Identifier: MIT
"""The demo's rows, made ready: torch models padded and not, and engines one text at a time and under load."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastformers.benchmarking.demo_measure import (
    Way,
    all_at_once,
    engine_weight_bytes,
    one_at_a_time,
    weight_bytes,
)
from fastformers.counted import counted
from fastformers.quiet_loading import quiet_loading

if TYPE_CHECKING:
    from fastformers.recipes.model_folder import OpenedModel

__all__ = ["MOST_TOKENS", "Rung", "offline", "prepared_ways", "rungs"]

MOST_TOKENS = 128  # the recipe's max_length: longer texts are cut there in every row


@dataclass(frozen=True)
class Rung:
    """One row of the ladder.

    Attributes:
        name: what the table and the picture call it.
        meaning: what it does, in words that need no other reading.
        stage: whose model it is.
        kind: key of the table below that says how it answers.
    """

    name: str
    meaning: str
    stage: str
    kind: str


def rungs(instances: int) -> list[Rung]:
    """Names the rows in order, and what each does on this machine.

    Args:
        instances: of the rows under load.
    """
    several = counted(instances, "instance")
    return [
        Rung(
            "teacher, padded",
            f"the fine-tuned encoder, 6 layers, in PyTorch float32; every text is filled up to {MOST_TOKENS} tokens, "
            'as fixed-shape exports and padding="max_length" do',
            "teacher",
            "padded",
        ),
        Rung("dynamic length", "the same model computes only the tokens that a text has", "teacher", "torch"),
        Rung(
            "distilled student",
            "3 of the 6 layers, trained to answer as the teacher does (ff.distill)",
            "student",
            "torch",
        ),
        Rung(
            "INT8 engine",
            "the student's whole encoder in one native call with INT8 layers, without torch (ff.compile, ff.Engine)",
            "student-int8",
            "engine",
        ),
        Rung(
            several,
            "the same under load: one thread for each, over one copy of the weights, all texts handed in at once",
            "student-int8",
            "instances",
        ),
        Rung(
            "pruned 25 %",
            "a quarter of the heads and neurons taken out by first-order scores (ff.prune_), distilled again",
            "pruned-25-int8",
            "instances",
        ),
        Rung("pruned 33/50 %", "a third of the heads and half of the neurons", "pruned-50-int8", "instances"),
    ]


@contextmanager
def prepared_ways(
    ladder: Sequence[Rung], folders: Mapping[str, Path], instances: int, max_tokens: int = MOST_TOKENS
) -> Iterator[list[Way]]:
    """Opens the models and engines of every row, until the end of the block.

    Args:
        ladder: the rows.
        folders: where their models are, by the rows' stages.
        instances: of the rows under load.
        max_tokens: after which every row cuts; padded rows fill up to it.
    """
    from fastformers.recipes.model_folder import open_model

    opened: dict[str, OpenedModel] = {}
    with ExitStack() as stack:
        stack.enter_context(offline())
        ways = []
        for rung in ladder:
            if rung.stage not in opened:
                opened[rung.stage] = open_model(folders[rung.stage])
            place = _Place(opened[rung.stage], instances, max_tokens, stack)
            ways.append(_KINDS[rung.kind](rung, place))
        yield ways


@dataclass(frozen=True)
class _Place:
    """What a row is made from."""

    opened: OpenedModel
    instances: int
    max_tokens: int
    stack: ExitStack


def _torch(rung: Rung, place: _Place, padding: str | bool) -> Way:
    import torch

    tokenizer = place.opened.tokenizer

    @torch.inference_mode()
    def answer(text: Any) -> int:
        parts = text if isinstance(text, tuple) else (text,)
        batch = tokenizer(
            *parts, return_tensors="pt", truncation=True, max_length=place.max_tokens, padding=padding
        )
        return int(place.opened.model(**batch).logits.argmax())

    return Way(rung.name, rung.meaning, weight_bytes(place.opened.model), one_at_a_time(answer))


def _padded(rung: Rung, place: _Place) -> Way:
    return _torch(rung, place, "max_length")


def _unpadded(rung: Rung, place: _Place) -> Way:
    return _torch(rung, place, False)


def _engine(rung: Rung, place: _Place) -> Way:
    from fastformers import kernels

    engine = _opened_engine(place, 1, kernels.num_threads())
    return Way(
        rung.name,
        rung.meaning,
        engine_weight_bytes(place.opened.model),
        one_at_a_time(lambda text: int(engine.logits([text])[0].argmax())),
    )


def _instances(rung: Rung, place: _Place) -> Way:
    engine = _opened_engine(place, place.instances, 1)
    return Way(
        rung.name,
        rung.meaning,
        engine_weight_bytes(place.opened.model),
        all_at_once(lambda text: engine.submit(text, task="logits"), lambda found: int(found.argmax())),
        under_load=True,
    )


def _opened_engine(place: _Place, instances: int, threads: int) -> Any:
    from fastformers.runtime.engine import Engine
    from fastformers.tokenization import TruncationWarning

    place.stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore", TruncationWarning)  # every row cuts there
    engine = Engine.from_pretrained(place.opened.folder, instances=instances, threads=threads)
    return place.stack.enter_context(engine)


_KINDS: dict[str, Callable[[Rung, _Place], Way]] = {
    "padded": _padded,
    "torch": _unpadded,
    "engine": _engine,
    "instances": _instances,
}


@contextmanager
def offline() -> Iterator[None]:
    """Keeps transformers from asking the network and from printing while it loads; leaves all as it was."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        with quiet_loading():
            yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before
