# SPDX-License-Identifier: MIT
"""What the calibration texts show of each linear layer's input: ranges, a sample of rows, and the Hessian.

Read through forward pre-hooks, in bounded memory: a range and a sample are small, and one X^T X is kept for all layers
that see the same tensor (query, key and value do). Rows of padding tokens are left out. Samples go into memory taken
beforehand: small pieces that outlive a pass, between activations that do not, would let the heap grow (by 220 MB
for BERT-base).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.errors import CalibrationError
from fastformers.quantization.inputs import input_of_call

__all__ = ["LayerObservation", "observe"]


@dataclass(frozen=True)
class LayerObservation:
    """One layer's input on the calibration texts.

    Attributes:
        input_absmax: float32 [K], largest magnitude of each channel.
        sample_inputs: float32 [R, K], rows spread over all texts.
        row_counts: M of every call, padding included: the shapes the layer really runs at.
        hessian: float32 [K, K], X^T X over all rows, or None. Layers with the same input share one tensor.
    """

    input_absmax: Tensor
    sample_inputs: Tensor
    row_counts: list[int]
    hessian: Tensor | None


@dataclass
class _Statistics:
    """What gathers during the passes."""

    depth: int
    absmax: Tensor
    sample: Tensor
    kept: int = 0
    row_counts: list[int] = field(default_factory=list)
    hessian: Tensor | None = None
    random: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))


class _Observer:
    """The hooks of one call of :func:`observe`."""

    def __init__(
        self, linears: dict[str, nn.Linear], want_hessian: bool, max_sample_rows: int, calls: int
    ) -> None:
        self.statistics = {
            name: _Statistics(
                linear.in_features,
                torch.zeros(linear.in_features, dtype=torch.float32),
                torch.empty(max_sample_rows, linear.in_features, dtype=torch.float32),
            )
            for name, linear in linears.items()
        }
        self.want_hessian = want_hessian
        self.calls = max(1, calls)
        self.max_sample_rows = max_sample_rows
        self.valid: Tensor | None = None
        self._last: tuple[Tensor, Tensor, str] | None = None
        self._leader: dict[str, str] = {}

    def hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        """A forward pre-hook, with keywords, that looks at the layer's input."""

        def look(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            self._look(name, input_of_call(arguments, options))

        return look

    def _look(self, name: str, x: Tensor) -> None:
        found = self.statistics[name]
        found.row_counts.append(x.numel() // found.depth)
        if self._last is not None and self._last[0] is x:
            rows, leader = self._last[1], self._last[2]
        else:
            rows, leader = self._valid_rows(x, found.depth), name
            self._last = (x, rows, name)
        if not len(rows):
            return
        low, high = torch.aminmax(rows, dim=0)
        largest = torch.maximum(high, -low)
        if not bool(torch.isfinite(largest).all()):
            raise CalibrationError(
                f"the input of layer {name!r} holds NaN or infinity on the calibration texts"
            )
        torch.maximum(found.absmax, largest, out=found.absmax)
        self._keep_some(found, rows)
        self._add_hessian(name, leader, rows)

    def _keep_some(self, found: _Statistics, rows: Tensor) -> None:
        """Takes this call's share of the sample, at random places: the first rows of texts are all alike."""
        due = min(self.max_sample_rows, -(-self.max_sample_rows * len(found.row_counts) // self.calls))
        count = min(due - found.kept, len(rows))
        if count > 0:
            places = torch.randperm(len(rows), generator=found.random)[:count].sort().values
            found.sample[found.kept : found.kept + count] = rows[places]
            found.kept += count

    def _valid_rows(self, x: Tensor, depth: int) -> Tensor:
        if self.valid is not None and x.shape[:-1] == self.valid.shape and not bool(self.valid.all()):
            return x.detach()[self.valid]
        return x.detach().reshape(-1, depth)

    def _add_hessian(self, name: str, leader: str, rows: Tensor) -> None:
        """X^T X is added up once for each distinct input; the other layers that see it point to the first."""
        if not self.want_hessian:
            return
        if self._leader.setdefault(name, leader) != leader:
            raise CalibrationError(
                f"layer {name!r} shares its input with {leader!r} on some texts only; calibrate with equalize alone"
            )
        if name != leader:
            return
        found = self.statistics[name]
        if found.hessian is None:
            found.hessian = torch.zeros(found.depth, found.depth, dtype=torch.float32)
        found.hessian.addmm_(rows.t(), rows)

    def result(self) -> dict[str, LayerObservation]:
        """The observations, with shared Hessians handed out."""
        observations = {}
        for name, found in self.statistics.items():
            if not found.kept:
                raise CalibrationError(f"layer {name!r} saw no input on the calibration texts; exclude it")
            hessian = self.statistics[self._leader[name]].hessian if self.want_hessian else None
            sample = found.sample[: found.kept]
            observations[name] = LayerObservation(found.absmax, sample, found.row_counts, hessian)
        return observations


def _mask_of(batch: dict[str, Any]) -> Tensor | None:
    mask = batch.get("attention_mask")
    return mask.bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None


def observe(
    model: nn.Module,
    linears: dict[str, nn.Linear],
    batches: Iterable[dict[str, Tensor]],
    *,
    want_hessian: bool,
    max_sample_rows: int = 512,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, LayerObservation]:
    """Runs the model on the batches and notes what the layers see.

    Args:
        model: in evaluation mode; not changed.
        linears: the layers to look at, by name.
        batches: keyword arguments of the model's forward; rows where a 2-d attention_mask is 0 are left out.
        want_hessian: also add up X^T X: K * K floats for each distinct input. Call it for groups of layers to bound
            the memory.
        max_sample_rows: rows kept for each layer.
        progress: called with (stage, batches done, batches in all).

    Raises:
        CalibrationError: an input that is not finite, or a layer that was never reached; names the layer.

    Example:
        >>> seen = observe(model, {"encoder.layer.0.output.dense": linear}, batches, want_hessian=False)
    """
    listed = list(batches)
    observer = _Observer(linears, want_hessian, max_sample_rows, len(listed))
    handles = [
        linear.register_forward_pre_hook(observer.hook(name), with_kwargs=True)
        for name, linear in linears.items()
    ]
    try:
        with torch.no_grad():
            for done, batch in enumerate(listed):
                observer.valid = _mask_of(batch)
                model(**batch)
                if progress is not None:
                    progress("calibration", done + 1, len(listed))
    finally:
        for handle in handles:
            handle.remove()
    return observer.result()
