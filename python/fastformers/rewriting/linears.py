# SPDX-License-Identifier: MIT
"""Reads the numbers of torch modules as NumPy arrays: float32 ones share their memory, INT8 ones are unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastformers.encoder_plan import Activation
from fastformers.errors import DeviceError, DtypeError
from fastformers.modules import PackedLinear
from fastformers.rewriting.checks import unsupported

__all__ = ["Linear", "Tensors", "array_of", "read_linear", "stacked"]

Array: TypeAlias = NDArray[Any]
Tensors: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Linear:
    """Numbers of a linear layer: float32 ``weight`` [N, K], or int8 with ``scale`` [N] and maybe ``factors`` [K].

    Attributes:
        weight: float32 or int8 [N, K].
        bias: float32 [N] or None.
        scale: float32 [N] with int8 weights.
        factors: float32 [K], multiply the inputs; int8 weights only.
        activation: applied to the output by the layer itself.
    """

    weight: Array
    bias: Array | None = None
    scale: Array | None = None
    factors: Array | None = None
    activation: Activation = "none"

    @property
    def rows(self) -> int:
        """N."""
        return int(self.weight.shape[0])

    @property
    def depth(self) -> int:
        """K."""
        return int(self.weight.shape[1])

    def part(self, first: int, count: int) -> Linear:
        """The layer that computes ``count`` of the columns only."""
        rows = slice(first, first + count)
        return replace(
            self,
            weight=self.weight[rows],
            bias=None if self.bias is None else self.bias[rows],
            scale=None if self.scale is None else self.scale[rows],
        )

    def as_float(self) -> Linear:
        """The same function with float32 weights, inputs taken as they are."""
        if self.scale is None:
            return self
        weight = self.weight * self.scale[:, None]
        if self.factors is not None:
            weight *= self.factors
        return replace(self, weight=weight, scale=None, factors=None)

    def write(self, tensors: Tensors, name: str) -> None:
        """Puts the arrays into ``tensors`` under the names of :mod:`fastformers.encoder_plan`."""
        for suffix in ("weight", "scale", "factors", "bias"):
            array = getattr(self, suffix)
            if array is not None:
                tensors[f"{name}.{suffix}"] = array


def array_of(tensor: Tensor, name: str) -> Array:
    """A float32 CPU tensor as an array that shares its memory and cannot be written through.

    Raises:
        DeviceError, DtypeError: it is elsewhere, or of another dtype.
    """
    if tensor.device.type != "cpu":
        raise DeviceError(f"{name} is on {tensor.device}: call model.cpu() first")
    if tensor.dtype != torch.float32:
        raise DtypeError(f"{name} is {tensor.dtype}, must be float32: call model.float() first")
    array: Array = tensor.detach().contiguous().numpy()
    array.flags.writeable = False
    return array


def read_linear(module: nn.Module, name: str) -> Linear:
    """Reads ``nn.Linear`` or :class:`fastformers.PackedLinear`.

    Raises:
        UnsupportedModelError: a module of another class, or quantized with one range for a whole batch.
        DeviceError, DtypeError: a tensor that is elsewhere or of another dtype.
    """
    if type(module) is PackedLinear:
        return _read_packed(module, name)
    if type(module) is not nn.Linear:
        kind = type(module)
        raise unsupported(f"{name} is {kind.__module__}.{kind.__qualname__}, not nn.Linear or PackedLinear")
    weight = array_of(module.weight, f"{name}.weight")
    return Linear(weight, None if module.bias is None else array_of(module.bias, f"{name}.bias"))


def _read_packed(module: PackedLinear, name: str) -> Linear:
    if module.per_tensor:
        raise unsupported(
            f'{name} was quantized with activation="per_tensor", where a text\'s result depends on its batch mates: '
            "quantize it per token"
        )
    canonical = module.canonical()
    return Linear(
        canonical.weight.numpy(),
        None if canonical.bias is None else array_of(canonical.bias, f"{name}.bias"),
        canonical.weight_scale.numpy(),
        None if canonical.factors is None else array_of(canonical.factors, f"{name}.input_factors"),
        module.activation or "none",
    )


def stacked(linears: Sequence[Linear]) -> tuple[Linear, bool]:
    """One layer whose columns are those of several that read the same input.

    Returns:
        (the layer, whether INT8 layers had to be made float32: they can be stacked as they are only when all are INT8
        with the same factors).
    """
    if len(linears) == 1:
        return linears[0], False
    kept = all(each.scale is not None for each in linears) and _same_factors(linears)
    parts = linears if kept else [each.as_float() for each in linears]
    biases = [np.zeros(each.rows, np.float32) if each.bias is None else each.bias for each in parts]
    made = Linear(
        np.concatenate([each.weight for each in parts]),
        np.concatenate(biases) if any(each.bias is not None for each in parts) else None,
        np.concatenate([each.scale for each in parts if each.scale is not None]) if kept else None,
        parts[0].factors,
    )
    return made, not kept and any(each.scale is not None for each in linears)


def _same_factors(linears: Sequence[Linear]) -> bool:
    first = linears[0].factors
    if first is None:
        return all(each.factors is None for each in linears)
    return all(each.factors is not None and np.array_equal(each.factors, first) for each in linears)
