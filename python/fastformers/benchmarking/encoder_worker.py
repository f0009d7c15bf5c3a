# SPDX-License-Identifier: MIT
"""One engine in one process: opens a model, binds a batch, says its answers, times a block when asked.

Started by the comparisons, not by hand: ``python -m fastformers.benchmarking.encoder_worker NAME THREADS CORES
SOURCE``. SOURCE names the function, as ``module:function``, that makes a :class:`ModelSource` of a model's name and a
workspace.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fastformers.benchmarking.contestant_server import Action, isolate, serve
from fastformers.benchmarking.contestants import Contestant, by_name
from fastformers.benchmarking.engines import ENGINES
from fastformers.benchmarking.engines.batch import Batch
from fastformers.benchmarking.engines.model_source import FolderSource, ModelSource
from fastformers.measuring import time_block

__all__ = ["MODULE", "EncoderWorker", "open_folder"]

MODULE = "fastformers.benchmarking.encoder_worker"

_CEILING_SECONDS = 0.004
# The second of two calls is not discarded when one call is longer than this: caches were filled in its first part.
_LONG_CALL_SECONDS = 0.1

SourceOpener = Callable[[str, Path], ModelSource]


def open_folder(name: str, workspace: Path) -> ModelSource:
    """Opens the model folder ``name``."""
    return FolderSource(Path(name), workspace)


class EncoderWorker:
    """Holds one engine's model and the bound batch, and answers commands about them.

    Args:
        engine: who this is.
        threads: threads of the engine.
        open_source: makes the source of a model.
    """

    def __init__(self, engine: Contestant, threads: int, open_source: SourceOpener) -> None:
        self.engine = engine
        self.threads = threads
        self.open_source = open_source
        self.model = ""
        self.bind: Callable[[Batch], Callable[[], object]] | None = None
        self.call: Callable[[], object] | None = None
        self.call_seconds = 0.0

    def load(self) -> dict[str, Any]:
        """Imports the engine, so that one that cannot start says so before the comparison begins."""
        self.engine.load()
        return {}

    def open(self, model: str, workspace: str) -> dict[str, Any]:
        """Converts and loads a model, in place of the one before it."""
        self.model, self.bind, self.call = "", None, None
        gc.collect()
        source = self.open_source(model, Path(workspace))
        self.bind = self.engine.load().load(source, self.threads, **self.engine.options)
        self.model = model
        gc.collect()  # the float model that the conversion was made from
        return {}

    def prepare(self, sequences: list[list[int]], answers: str) -> dict[str, Any]:
        """Binds a batch and saves the engine's answers as float32 in the .npy file ``answers``."""
        if self.bind is None:
            raise RuntimeError("prepare before open")
        batch = Batch.of(sequences)
        self.call = None
        call = self.bind(batch)
        np.save(answers, batch.without_padding(np.asarray(call(), np.float32)))
        start = time.perf_counter()
        call()
        self.call_seconds = time.perf_counter() - start
        self.call = call
        return {"call_seconds": self.call_seconds}

    def block(self, seconds: float) -> dict[str, float]:
        """Times calls from Python for about ``seconds``."""
        if self.call is None:
            raise RuntimeError("block before prepare")
        discard = 1 if self.call_seconds > _LONG_CALL_SECONDS else 2
        return {"seconds": time_block(self.call, seconds, discard=discard)}

    def block_and_ceilings(self, seconds: float) -> dict[str, float]:
        """Times a block with this machine's ceilings read right before and after it.

        Returns:
            ``seconds`` of a call; ``ceiling_gops`` of INT8 and ``ceiling_gflops`` of float32, on as many threads,
            each the mean of the two readings.
        """
        before = self._ceilings()
        reading = self.block(seconds)
        after = self._ceilings()
        return reading | {name: (before[name] + after[name]) / 2 for name in before}

    def _ceilings(self) -> dict[str, float]:
        from fastformers import kernels  # not in the processes of other engines

        return {
            "ceiling_gops": kernels.ceiling_gops(threads=self.threads, seconds=_CEILING_SECONDS),
            "ceiling_gflops": kernels.ceiling_gflops(threads=self.threads, seconds=_CEILING_SECONDS),
        }


def main(name: str, threads: str, cores: str, source: str) -> None:
    """Pins the process and serves."""
    answers = isolate(cores)
    engine = by_name(ENGINES, name)
    module, function = source.split(":")
    open_source: SourceOpener = getattr(import_module(module), function)
    with engine.inference():
        worker = EncoderWorker(engine, int(threads), open_source)
        actions: dict[str, Action] = {
            "load": worker.load,
            "open": worker.open,
            "prepare": worker.prepare,
            "block": worker.block,
            "block_and_ceilings": worker.block_and_ceilings,
        }
        serve(actions, sys.stdin, answers, threads=int(threads))


if __name__ == "__main__":
    main(*sys.argv[1:])
