# SPDX-License-Identifier: MIT
"""The packed linear as a torch operator, so that torch.compile and torch.export see one opaque node.

Eager calls of :class:`fastformers.modules.PackedLinear` do not come through here: the dispatcher costs more than
the call itself. Packed bytes in a traced graph belong to the instruction set they were packed for; running the
graph elsewhere raises :class:`fastformers.errors.IsaError`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastformers.errors import ConfigError, ShapeError
from fastformers.kernels import ACTIVATIONS, PackedWeight, linear

__all__ = ["packed_linear"]

_ACTIVATION_OF_CODE = {code: name for name, code in ACTIVATIONS.items()}

_LIBRARY = torch.library.Library("fastformers", "FRAGMENT")
_LIBRARY.define(
    "packed_linear(Tensor x, Tensor packed, Tensor? bias, Tensor? factors, int out_features, int activation,"
    " bool per_tensor) -> Tensor"
)


def _run(
    x: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    factors: Tensor | None,
    out_features: int,
    activation: int,
    per_tensor: bool,
) -> Tensor:
    weight = PackedWeight.view(packed.data_ptr(), packed.numel(), packed)
    if out_features != weight.columns:
        raise ShapeError(f"out_features is {out_features}, the packed weight has {weight.columns} columns")
    if activation not in _ACTIVATION_OF_CODE:
        raise ConfigError(f"activation is {activation}; allowed: {ACTIVATIONS}")
    name = _ACTIVATION_OF_CODE[activation]
    return linear(x, weight, bias, activation=name, factors=factors, per_tensor=per_tensor)


def _run_fake(
    x: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    factors: Tensor | None,
    out_features: int,
    activation: int,
    per_tensor: bool,
) -> Tensor:
    torch._check(x.dtype == torch.float32, lambda: f"packed_linear computes in float32, got {x.dtype}")
    return x.new_empty((*x.shape[:-1], out_features))


_LIBRARY.impl("packed_linear", _run, "CPU")
torch.library.register_fake("fastformers::packed_linear", _run_fake, lib=_LIBRARY)

packed_linear = torch.ops.fastformers.packed_linear.default
