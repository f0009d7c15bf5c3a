# SPDX-License-Identifier: MIT
"""The quantization schemes that are compared.

Those the package offers run through ``quantize_`` and ``compile``; the others, kept to show why they were not chosen,
are simulated in float32 with the same rounding, and their equalisation factors are those of peaks alone (alpha 0.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import fastformers as ff
from fastformers.quantization.calibration import observe
from fastformers.quantization.equalization import equalization_factors
from fastformers.quantization.rounding import quantize_weight

__all__ = ["COMPILED_SCHEMES", "PACKAGE_SCHEMES", "SIMULATED_SCHEMES", "Simulation", "simulate_"]

PACKAGE_SCHEMES = {
    "per tensor u8 (the paper)": ff.Int8Config(equalize=False, activation="per_tensor", never_slower=False),
    "per token, asymmetric u8": ff.Int8Config(equalize=False, never_slower=False),
    "asymmetric + equalisation (default)": ff.Int8Config(never_slower=False),
    "the same + compensated rounding": ff.Int8Config(rounding="compensated", never_slower=False),
}

#: Whole encoders through ``compile``.
COMPILED_SCHEMES = {
    "compiled, every layer float32": ff.CompileConfig(int8=None, attention="float32"),
    "compiled (default)": ff.CompileConfig(),
    "compiled, float32 attention products": ff.CompileConfig(attention="float32"),
    "compiled, compensated rounding": ff.CompileConfig(int8=ff.Int8Config(rounding="compensated")),
    "compiled, INT8 word embeddings": ff.CompileConfig(int8_embeddings=True),
}


@dataclass(frozen=True)
class Simulation:
    """What a simulated scheme does to the activations and to the weights."""

    activations: Callable[[Tensor], Tensor] | None
    equalize: bool


def _symmetric(x: Tensor) -> Tensor:
    scale = (x.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-30)
    return torch.round(x / scale) * scale


def _asymmetric(x: Tensor) -> Tensor:
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    scale = ((high - low) / 255).clamp(min=1e-30)
    zero = torch.round(-low / scale)
    return (torch.clamp(torch.round(x / scale) + zero, 0, 255) - zero) * scale


SIMULATED_SCHEMES = {
    "per token, symmetric s8": Simulation(_symmetric, equalize=False),
    "symmetric + equalisation": Simulation(_symmetric, equalize=True),
    "asymmetric + peaks alone": Simulation(_asymmetric, equalize=True),
    "weights only (nearest)": Simulation(None, equalize=False),
}


class _SimulatedLinear(nn.Module):
    """A linear layer on rounded weights (as float32) and, perhaps, rounded activations."""

    def __init__(
        self, linear: nn.Linear, factors: Tensor | None, activations: Callable[[Tensor], Tensor] | None
    ) -> None:
        super().__init__()
        s8, scales = quantize_weight(linear.weight, factors)
        self.weight = s8.float() * scales[:, None]
        self.bias, self.factors, self.activations = linear.bias, factors, activations

    def forward(self, x: Tensor) -> Tensor:
        """Shape [..., K] to [..., N]."""
        x = x if self.factors is None else x * self.factors
        x = x if self.activations is None else self.activations(x)
        return nn.functional.linear(x, self.weight, self.bias)


def simulate_(model: nn.Module, scheme: Simulation, batches: Iterable[dict[str, Any]]) -> None:
    """Replaces every linear layer but the pooler's by its simulation."""
    linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and "pooler" not in n}
    seen = observe(model, linears, batches, want_hessian=False) if scheme.equalize else {}
    for name, linear in linears.items():
        factors = equalization_factors(seen[name].input_absmax, linear.weight) if scheme.equalize else None
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, _SimulatedLinear(linear, factors, scheme.activations))
