# SPDX-License-Identifier: MIT
"""What :func:`fastformers.quantize_` did: per layer and in total, for people (``print``) and for programs (JSON)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, get_origin, get_type_hints

from fastformers.config import Int8Config
from fastformers.errors import FormatError, GateError
from fastformers.quantization.agreement import Agreement
from fastformers.quantization.timing import LayerTiming

__all__ = ["REPORT_ATTRIBUTE", "LayerReport", "QuantizationReport"]

#: Where a quantized model carries its report, for whoever saves it.
REPORT_ATTRIBUTE = "fastformers_report"

_DECISIONS = ("int8", "float", "unchanged")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class LayerReport:
    """One linear layer of the model.

    Attributes:
        name: its name in the model.
        shape: (N, K), as in ``nn.Linear.weight``.
        decision: "int8", "float", or "unchanged" (it was INT8 before).
        reason: why.
        isa: instruction set it is packed for; None while float.
        activation: fused into it.
        timings: both versions at the row counts seen; empty when nothing was measured.
        sqnr_db: signal to quantization noise of its output against float32 on the calibration inputs, in decibels
            (6 dB is one bit); None without calibration.
        float_bytes: bytes of its float32 weight.
        packed_bytes: bytes of its packed weight; 0 while float.
    """

    name: str
    shape: tuple[int, int]
    decision: str
    reason: str
    isa: str | None = None
    activation: str | None = None
    timings: tuple[LayerTiming, ...] = ()
    sqnr_db: float | None = None
    float_bytes: int = 0
    packed_bytes: int = 0

    @property
    def speedup(self) -> float | None:
        """How many times faster its INT8 version is at the least favourable row count; None when not measured."""
        return min((timing.speedup for timing in self.timings), default=None)


@dataclass(frozen=True)
class QuantizationReport:
    """The result of :func:`fastformers.quantize_`.

    Attributes:
        layers: every linear of the model.
        agreement: answers against float32; None when there was nothing to compare on.
        config: what was asked for.
        calibration: what the layers were calibrated on, in words.
        machine: CPU model, instruction set, thread counts, versions.
        model_bytes: bytes of all parameters and buffers, (before, after).
        notes: what the caller should know besides.
    """

    layers: tuple[LayerReport, ...]
    agreement: Agreement | None
    config: Int8Config
    calibration: str
    machine: dict[str, Any]
    model_bytes: tuple[int, int]
    notes: tuple[str, ...] = ()

    @property
    def speedup(self) -> float | None:
        """How many times faster all linears of the model together are, float ones included; None if not measured.

        Attention, norms and embeddings are not in it.
        """
        timed = [layer for layer in self.layers if layer.timings]
        before = sum(timing.float_us for layer in timed for timing in layer.timings)
        after = sum(
            timing.packed_us if layer.decision == "int8" else timing.float_us
            for layer in timed
            for timing in layer.timings
        )
        return before / after if after else None

    @property
    def linear_bytes(self) -> tuple[int, int]:
        """Bytes of the weights of the layers that were swapped, (float32, packed)."""
        swapped = [layer for layer in self.layers if layer.decision == "int8"]
        return sum(layer.float_bytes for layer in swapped), sum(layer.packed_bytes for layer in swapped)

    def raise_if(self, *, min_speedup: float | None = None, max_disagreement: float | None = None) -> None:
        """Raises when a measured value misses a limit; a limit whose value was not measured is missed.

        A model whose layers all stayed float answers as before, and misses no limit on that.

        Args:
            min_speedup: of all linears together, as :attr:`speedup`.
            max_disagreement: share of differing answers, 0 to 1, as :attr:`Agreement.disagreement`.

        Raises:
            GateError: names the value and the limit.
        """
        if min_speedup is not None and (self.speedup is None or self.speedup < min_speedup):
            measured = "was not measured" if self.speedup is None else f"is {self.speedup:.2f}x"
            raise GateError(
                f"the speed-up of the linear layers {measured}, asked for: at least {min_speedup:g}x"
            )
        if max_disagreement is None:
            return
        if self.agreement is None and all(layer.decision == "float" for layer in self.layers):
            return  # the answers are float32's own
        if self.agreement is None:
            raise GateError(
                "the disagreement was not measured: pass a tokenizer or example inputs to quantize_"
            )
        if self.agreement.disagreement > max_disagreement:
            raise GateError(disagreement_message(self.agreement, max_disagreement))

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain JSON values."""
        return {
            "layers": [{**asdict(layer), "speedup": layer.speedup} for layer in self.layers],
            "agreement": None if self.agreement is None else self.agreement.to_dict(),
            "config": self.config.to_dict(),
            "calibration": self.calibration,
            "machine": dict(self.machine),
            "model_bytes": list(self.model_bytes),
            "linear_bytes": list(self.linear_bytes),
            "speedup": self.speedup,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QuantizationReport:
        """Builds a report from :meth:`to_dict`'s result.

        Raises:
            FormatError: a field is missing or of the wrong kind.
        """
        try:
            agreement = values["agreement"]
            return cls(
                layers=tuple(_layer_from_dict(layer) for layer in values["layers"]),
                agreement=None if agreement is None else _typed(Agreement(**agreement)),
                config=Int8Config.from_dict(values["config"]),
                calibration=str(values["calibration"]),
                machine=dict(values["machine"]),
                model_bytes=(int(values["model_bytes"][0]), int(values["model_bytes"][1])),
                notes=tuple(str(note) for note in values["notes"]),
            )
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise FormatError(f"not a quantization report: {type(error).__name__}: {error}") from error

    def to_json(self) -> str:
        """Returns the report as indented JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """Tables for a person; like layers share a line."""
        from fastformers.quantization.report_text import render

        return render(self)


def _layer_from_dict(values: Mapping[str, Any]) -> LayerReport:
    fields = {key: value for key, value in values.items() if key != "speedup"}
    shape, timings = fields.pop("shape"), fields.pop("timings")
    made = LayerReport(
        shape=(int(shape[0]), int(shape[1])),
        timings=tuple(_typed(LayerTiming(**timing)) for timing in timings),
        **fields,
    )
    if made.decision not in _DECISIONS or any(timing.packed_us <= 0 for timing in made.timings):
        raise ValueError(f"decision is {made.decision!r}, timings are {timings!r}")
    return _typed(made)


def _typed(made: _Made) -> _Made:
    """The object itself, whose fields must be of the types declared; a whole number may stand for a float."""
    for name, kind in get_type_hints(type(made)).items():
        value = getattr(made, name)
        whole = isinstance(value, int) and kind in (float, float | None)
        if get_origin(kind) is not tuple and not (whole or isinstance(value, kind)):
            raise TypeError(f"{name} is {value!r}")
    return made


def disagreement_message(agreement: Agreement, limit: float) -> str:
    """Says by how much an agreement gate was missed."""
    return (
        f"{agreement.disagreement:.2%} of the answers ({agreement.disagreement_of}) on {agreement.examples} examples "
        f"differ from float32, allowed: {limit:.2%}"
    )
