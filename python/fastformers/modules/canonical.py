# SPDX-License-Identifier: MIT
"""Canonical INT8 weights, the form that is stored: checked here, packed for the CPU at hand.

Canonical means: weight int8 [N, K] in [-127, 127], one float32 scale per output column n, and optionally a
float32 bias [N] and equalisation factors [K] that multiply the inputs. The layer then computes
``activation((x * factors) @ (weight * weight_scale[:, None]).T + bias)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fastformers._arrays import matrix_of, vector_of
from fastformers.errors import NonFiniteError, ShapeError
from fastformers.kernels import PackedWeight, quantize_weight

__all__ = ["Canonical", "check_vectors"]


@dataclass(frozen=True)
class Canonical:
    """Rounded weights of one layer; see the module's text for shapes and dtypes."""

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor | None = None
    factors: Tensor | None = None

    @classmethod
    def zeros(cls, columns: int, depth: int, *, bias: bool, factors: bool) -> Canonical:
        """All-zero weights of shape [columns, depth], unit factors.

        Raises:
            ShapeError: N or K is out of range.
        """
        PackedWeight.nbytes_for(columns, depth)  # checks the limits before anything is allocated
        return cls(
            torch.zeros(columns, depth, dtype=torch.int8, device="cpu"),
            torch.zeros(columns, dtype=torch.float32, device="cpu"),
            torch.zeros(columns, dtype=torch.float32, device="cpu") if bias else None,
            torch.ones(depth, dtype=torch.float32, device="cpu") if factors else None,
        )

    @classmethod
    def rounded(cls, weight: Tensor, bias: Tensor | None, factors: Tensor | None) -> Canonical:
        """Rounds float32 weights [N, K] to the nearest step, after dividing them by the factors.

        Raises:
            DtypeError, DeviceError, ShapeError, NonFiniteError: an argument cannot be packed; says why.
        """
        weight = weight.detach()
        columns, depth = _shape_of(weight, "float32")
        check_vectors(columns, depth, bias, factors)
        rounded, scale = quantize_weight(weight if factors is None else weight / factors)
        return cls(torch.from_numpy(rounded), torch.from_numpy(scale), bias, factors)

    def pack(self) -> Tensor:
        """Packs for the instruction set in use.

        Returns:
            One-dimensional uint8 tensor, aligned to 64 bytes.

        Raises:
            DtypeError, DeviceError, ShapeError, NonFiniteError: a tensor is refused; names it and the value.
        """
        columns, depth = _shape_of(self.weight, "int8")
        vector_of(self.weight_scale, "weight_scale", columns)
        check_vectors(columns, depth, self.bias, self.factors)
        packed = torch.empty(PackedWeight.nbytes_for(columns, depth), dtype=torch.uint8, device="cpu")
        weight, scale = self.weight.detach().contiguous(), self.weight_scale.detach().contiguous()
        PackedWeight.pack(weight.numpy(), scale.numpy(), packed.numpy())
        return packed


def _shape_of(weight: Tensor, dtype: str) -> tuple[int, int]:
    shape = matrix_of(weight, "weight", dtype).shape
    if len(shape) != 2:
        raise ShapeError(f"weight has shape {list(shape)}, must be a matrix [N, K]")
    return shape[0], shape[1]


def check_vectors(columns: int, depth: int, bias: Tensor | None, factors: Tensor | None) -> None:
    """Checks a layer's optional bias [columns] and factors [depth].

    Raises:
        DtypeError, DeviceError, ShapeError, NonFiniteError: names the vector and the value.
    """
    vector_of(bias, "bias", columns)
    vector_of(factors, "factors", depth)
    if factors is None:
        return
    wrong = ~(torch.isfinite(factors) & (factors > 0))
    if bool(wrong.any()):
        place = int(torch.nonzero(wrong)[0])
        value = float(factors[place])
        problem = (
            f"factors[{place}] is {value}; the weights are divided by them: all must be positive and finite"
        )
        raise ShapeError(problem) if value <= 0 else NonFiniteError(problem)
