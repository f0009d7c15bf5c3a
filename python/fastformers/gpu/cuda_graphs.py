# SPDX-License-Identifier: MIT
"""A model whose kernels are recorded once for each shape of batch and replayed, with one launch instead of hundreds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.errors import DeviceError, UnsupportedModelError
from fastformers.gpu.devices import device_of

__all__ = ["GraphedModel"]

_WARM_UP = 3
_Shape = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class _Recorded:
    graph: Any
    inputs: dict[str, Tensor]
    logits: Tensor


class GraphedModel:
    """Calls a model through CUDA graphs.

    A shape that was not seen before is run three times and recorded. Recordings share one pool of memory, so calls must
    not overlap.

    Args:
        model: on a GPU, in evaluation mode; its forward may not wait for the GPU.

    Raises:
        DeviceError: the model is not on a GPU.
    """

    def __init__(self, model: nn.Module) -> None:
        self._device = device_of(model)
        if self._device.type != "cuda":
            raise DeviceError(f"CUDA graphs need a model on a GPU, and this one is on {self._device}")
        self._model = model
        self._recorded: dict[_Shape, _Recorded] = {}
        self._pool = torch.cuda.graph_pool_handle()

    @property
    def shapes(self) -> int:
        """How many shapes are recorded."""
        return len(self._recorded)

    def __call__(self, **inputs: Tensor) -> Tensor:
        """Returns the logits of a batch, a tensor of its own.

        Args:
            inputs: the model's arguments, on its device.

        Raises:
            UnsupportedModelError: the model puts out no logits.
        """
        shape = tuple((name, tuple(tensor.shape)) for name, tensor in sorted(inputs.items()))
        if shape not in self._recorded:
            self._recorded[shape] = self._record(inputs)
        recorded = self._recorded[shape]
        for name, tensor in inputs.items():
            recorded.inputs[name].copy_(tensor)
        recorded.graph.replay()
        return recorded.logits.clone()

    def _record(self, inputs: dict[str, Tensor]) -> _Recorded:
        own = {name: tensor.clone() for name, tensor in inputs.items()}
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        # Tensors that a model makes without saying where (MPNet's positions, in some versions of transformers) are made
        # on the device: copied there, they could not be recorded.
        with self._device:
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):  # libraries choose kernels and take workspace in their first calls
                    self._logits(own)
            torch.cuda.current_stream(self._device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                logits = self._logits(own)
        return _Recorded(graph, own, logits)

    def _logits(self, inputs: dict[str, Tensor]) -> Tensor:
        logits = getattr(self._model(**inputs), "logits", None)
        if not isinstance(logits, Tensor):
            raise UnsupportedModelError(
                f"{type(self._model).__name__} puts out no logits: TorchModel answers with those"
            )
        return logits
