# SPDX-License-Identifier: MIT
"""What a plan means: a slow interpreter in plain torch, one sequence at a time, every INT8 weight made float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastformers.encoder_plan import EncoderPlan, LayerPlan, OutputPlan

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "tanh": torch.tanh,
    "silu": F.silu,
}


class PlanReference:
    """Runs one sequence after the other through a plan.

    Args:
        plan: what is computed.
        tensors: arrays by the names of :mod:`fastformers.encoder_plan`.
    """

    def __init__(self, plan: EncoderPlan, tensors: Mapping[str, Any]) -> None:
        self.plan = plan
        self.tensors = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}

    def run(self, ids: Sequence[int], types: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Computes every output of one sequence: [tokens, C] or [C]."""
        plan = self.plan
        assert 1 <= len(ids) <= plan.max_tokens
        x = self._embed(torch.tensor(ids), None if types is None else torch.tensor(types))
        for number, layer in enumerate(plan.layers):
            x = self._layer(x, layer, f"layers.{number}")
        x = self._norm(x, "final_norm")
        return {output.name: self._output(x, output) for output in plan.outputs}

    def _embed(self, ids: Tensor, types: Tensor | None) -> Tensor:
        tensors, plan = self.tensors, self.plan
        x = tensors["embeddings.word"][ids]
        if "embeddings.word.scale" in tensors:
            x = x.float() * tensors["embeddings.word.scale"][ids][:, None]
        if plan.types:
            x = x + tensors["embeddings.type"][torch.zeros_like(ids) if types is None else types]
        if plan.positions:
            x = x + tensors["embeddings.position"][self._rows_of_positions(ids)]
        x = self._norm(x, "embeddings.norm")
        return x if plan.embedding == plan.hidden else self._linear(x, "embeddings.projection")

    def _rows_of_positions(self, ids: Tensor) -> Tensor:
        padding = self.plan.position_offset - 1
        counted = (ids != padding).long()
        return counted.cumsum(0) * counted + padding

    def _layer(self, x: Tensor, layer: LayerPlan, name: str) -> Tensor:
        if self.plan.pre_norm:
            x = x + self._attention(self._norm(x, f"{name}.attention_norm"), layer, name)
            return x + self._ffn(self._norm(x, f"{name}.ffn_norm"), layer, name)
        x = self._norm(x + self._attention(x, layer, name), f"{name}.attention_norm")
        return self._norm(x + self._ffn(x, layer, name), f"{name}.ffn_norm")

    def _attention(self, x: Tensor, layer: LayerPlan, name: str) -> Tensor:
        if layer.heads == 0:
            return self._bias_alone(x, f"{name}.output")
        qkv = self._linear(x, f"{name}.qkv").view(len(x), 3, layer.heads, layer.head_size)
        q, k, v = qkv.permute(1, 2, 0, 3)
        if layer.rope_base:
            q, k = _rotated(q, layer.rope_base), _rotated(k, layer.rope_base)
        scores = q @ k.transpose(1, 2) / layer.head_size**0.5
        places = torch.arange(len(x))
        distances = places[None, :] - places[:, None]
        if f"{name}.relative_bias" in self.tensors:
            scores = scores + self.tensors[f"{name}.relative_bias"][:, distances + self.plan.max_tokens - 1]
        if layer.window >= 0:
            scores = scores.masked_fill(distances.abs() > layer.window, -torch.inf)
        mixed = (torch.softmax(scores, dim=-1) @ v).transpose(0, 1).reshape(len(x), -1)
        return self._linear(mixed, f"{name}.output")

    def _ffn(self, x: Tensor, layer: LayerPlan, name: str) -> Tensor:
        if layer.intermediate == 0:
            return self._bias_alone(x, f"{name}.down")
        between = self._linear(x, f"{name}.up")
        activation = ACTIVATIONS[self.plan.activation]
        if self.plan.gated:
            a, b = between.chunk(2, dim=-1)
            return self._linear(activation(a) * b, f"{name}.down")
        return self._linear(activation(between), f"{name}.down")

    def _output(self, x: Tensor, output: OutputPlan) -> Tensor:
        rows = {"all": lambda: x, "first": lambda: x[0], "mean": lambda: x.mean(dim=0)}[output.rows]()
        for number, step in enumerate(output.steps):
            name = f"outputs.{output.name}.{number}"
            if step.linear:
                rows = self._linear(rows, f"{name}.linear")
            rows = ACTIVATIONS[step.activation](rows)
            if step.norm:
                rows = self._norm(rows, f"{name}.norm")
            assert rows.shape[-1] == step.features
        return rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12) if output.normalize else rows

    def _linear(self, x: Tensor, name: str) -> Tensor:
        weight = self.tensors[f"{name}.weight"].float()
        if f"{name}.scale" in self.tensors:
            weight = weight * self.tensors[f"{name}.scale"][:, None]
        if f"{name}.factors" in self.tensors:
            x = x * self.tensors[f"{name}.factors"]
        return F.linear(x, weight, self.tensors.get(f"{name}.bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        """LayerNorm, or nothing where the plan has none."""
        weight = self.tensors.get(f"{name}.weight")
        if weight is None:
            return x
        bias = self.tensors.get(f"{name}.bias")
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.plan.norm_epsilon)

    def _bias_alone(self, x: Tensor, name: str) -> Tensor:
        bias = self.tensors.get(f"{name}.bias")
        return torch.zeros_like(x) if bias is None else bias.expand_as(x)


def _rotated(x: Tensor, base: float) -> Tensor:
    """Rotary positions on [heads, tokens, head_size]: channel c turns with c + head_size / 2."""
    half = x.shape[-1] // 2
    frequencies = base ** -(torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(x.shape[1], dtype=torch.float32)[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
