# SPDX-License-Identifier: MIT
"""torch.compile: inductor with frozen weights and static shapes, one compilation for each shape of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch._inductor import config as inductor

from fastformers.benchmarking.engines.batch import Batch
from fastformers.benchmarking.engines.model_source import ModelSource
from fastformers.benchmarking.engines.torch_eager import caller_of, padding_of

__all__ = ["load"]


def load(source: ModelSource, threads: int) -> Callable[[Batch], Callable[[], object]]:
    """Loads the model; the first call of each shape compiles it, which takes 10 to 60 seconds."""
    torch.set_num_threads(threads)
    inductor.freezing = True
    inductor.cpp.threads = threads
    model = source.torch_model()
    compiled = torch.compile(model, dynamic=False)

    def bind(batch: Batch) -> Callable[[], object]:
        torch._dynamo.reset()  # a limit on recompilations would send later shapes to eager execution
        return caller_of(compiled, padding_of(model))(batch)

    return bind
