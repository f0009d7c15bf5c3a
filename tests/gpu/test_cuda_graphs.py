# SPDX-License-Identifier: MIT
"""What a model is given and asked while it is recorded; a stand-in for a GPU records nothing."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastformers.errors import UnsupportedModelError
from fastformers.gpu import cuda_graphs
from fastformers.gpu.cuda_graphs import GraphedModel


class Device:
    """Says whether tensors are made on it."""

    type = "cuda"
    entered = False

    def __enter__(self) -> None:
        self.entered = True

    def __exit__(self, *_: object) -> None:
        self.entered = False


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    found = Device()
    stream = SimpleNamespace(wait_stream=lambda _: None)
    fakes: dict[str, Any] = {
        "Stream": lambda _: stream,
        "current_stream": lambda _: stream,
        "stream": lambda _: nullcontext(),
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: None),
        "graph": lambda _graph, pool: nullcontext(),
        "graph_pool_handle": lambda: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(cuda_graphs, "device_of", lambda _: found)
    return found


def test_tensors_that_a_model_makes_while_it_is_recorded_are_made_on_the_gpu(device: Device) -> None:
    made: list[bool] = []

    class Model(nn.Module):
        def forward(self, values: Tensor) -> SimpleNamespace:
            made.append(device.entered)
            return SimpleNamespace(logits=2 * values)

    values = torch.ones(2, 3)
    graphed = GraphedModel(Model())
    assert torch.equal(graphed(values=values), 2 * values)
    assert made
    assert all(made)
    assert not device.entered
    calls = len(made)
    graphed(values=values)
    assert (graphed.shapes, len(made)) == (1, calls)


def test_models_without_logits_are_told(device: Device) -> None:
    class Model(nn.Module):
        def forward(self, values: Tensor) -> SimpleNamespace:
            return SimpleNamespace(last_hidden_state=values)

    with pytest.raises(UnsupportedModelError, match="no logits"):
        GraphedModel(Model())(values=torch.ones(2, 3))
