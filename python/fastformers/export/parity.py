# SPDX-License-Identifier: MIT
"""Compares what an exported graph puts out with what the model does, and finds the first layer where they part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastformers.encoder_plan import TOKEN_SCORES
from fastformers.errors import GateError
from fastformers.export.session import open_session

__all__ = ["TOLERANCES", "Difference", "Tolerance", "compare", "first_difference", "require_within"]

Arrays = Mapping[str, NDArray[Any]]
#: Below so many numbers for each text an output (logits) is compared as one vector over all texts.
_LEAST_CHANNELS = 16


@dataclass(frozen=True)
class Tolerance:
    """How far a precision may be from the float32 model.

    Attributes:
        max_abs: largest difference of any number; ``None`` for no limit.
        cosine: least mean cosine of the outputs; ``None`` for no limit.
        why: reason.
    """

    max_abs: float | None
    cosine: float | None
    why: str


#: Precision -> what the check allows; the last one is for the distance from our engine.
TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(1e-4, None, "sums are taken in another order"),
    "fp16": Tolerance(None, 0.9999, "products and activations have 11 bits"),
    "int8": Tolerance(
        None, 0.98, "8-bit products; on trained weights 0.999 is usual, random weights do worse"
    ),
    "int8-fastformers": Tolerance(None, 0.98, "as int8; with the engine it agrees to the bit"),
    "int8-fastformers-layers": Tolerance(
        None,
        0.99,
        "LayerNorm sums in another order than the engine's; a last bit moves some activation to the next of its 256 "
        "steps, and later layers amplify that. Heads of first tokens: see docs/onnx.md",
    ),
}


@dataclass(frozen=True)
class Difference:
    """How outputs differ.

    Attributes:
        max_abs: largest difference of any number.
        cosine: mean cosine over the texts, of the outputs' means over tokens; of narrow outputs (logits) one cosine
            over all texts.
        worst: least of them.
        texts: how many were compared.
    """

    max_abs: float
    cosine: float
    worst: float
    texts: int

    def to_dict(self) -> dict[str, float]:
        """Returns the numbers as JSON values."""
        return asdict(self)


def compare(
    batches: Sequence[Arrays], found: Sequence[Arrays], wanted: Sequence[Arrays]
) -> dict[str, Difference]:
    """Compares outputs, rows of padding left out.

    Args:
        batches: inputs of each call, with ``attention_mask`` [batch, length].
        found: outputs by name of each call.
        wanted: the same from the model.

    Returns:
        Output -> difference, for outputs that both have.
    """
    names = [name for name in found[0] if name in wanted[0]]
    return {name: _difference(batches, found, wanted, name) for name in names}


def _difference(
    batches: Sequence[Arrays], found: Sequence[Arrays], wanted: Sequence[Arrays], name: str
) -> Difference:
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for batch, one, other in zip(batches, found, wanted, strict=True):
        for row, mask in enumerate(batch["attention_mask"]):
            kept = mask == 1 if _is_per_token(name, one[name]) else slice(None)
            pairs.append((one[name][row][kept], other[name][row][kept]))
    largest = float(np.max([np.abs(a - b).max() for a, b in pairs]))  # Python's max would pass over a NaN
    vectors = [(_pooled(a), _pooled(b)) for a, b in pairs]
    if vectors[0][0].size < _LEAST_CHANNELS:
        vectors = [tuple(np.concatenate(side) for side in zip(*vectors, strict=True))]  # type: ignore[list-item]
    cosines = [_cosine(a, b) for a, b in vectors]
    return Difference(largest, float(np.mean(cosines)), float(np.min(cosines)), len(pairs))


def _is_per_token(name: str, output: NDArray[Any]) -> bool:
    """By name: logits of as many classes as the batch has tokens look like scores of tokens."""
    return output.ndim == 3 or name in TOKEN_SCORES


def _pooled(rows: NDArray[Any]) -> NDArray[Any]:
    """Mean over tokens of [tokens, C]; a vector, or one number for each token, as it is."""
    vector: NDArray[Any] = rows.mean(0) if rows.ndim == 2 else rows.reshape(-1)
    return vector.astype(np.float64)


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else float(np.array_equal(a, b))


def _is_within(difference: Difference, tolerance: Tolerance) -> bool:
    """NaN is within nothing."""
    near = tolerance.max_abs is None or difference.max_abs <= tolerance.max_abs
    alike = tolerance.cosine is None or difference.cosine >= tolerance.cosine
    return near and alike


def require_within(
    differences: Mapping[str, Difference],
    precision: str,
    where: Callable[[], str],
    what: str = "the model",
) -> None:
    """Ends the export when an output is too far from the model's.

    Args:
        differences: from :func:`compare`.
        precision: key of :data:`TOLERANCES`.
        where: finds out which layer differs first; asked only then.
        what: it was compared with, in words.

    Raises:
        GateError: names output, difference, tolerance and layer.
    """
    tolerance = TOLERANCES[precision]
    for name, difference in differences.items():
        if _is_within(difference, tolerance):
            continue
        allowed = (
            f"a largest difference of {tolerance.max_abs:g}"
            if tolerance.max_abs is not None
            else f"a mean cosine of {tolerance.cosine:g}"
        )
        raise GateError(
            f"the {precision} graph does not compute what {what} computes: {name} has a largest difference of "
            f"{difference.max_abs:.3g} and a mean cosine of {difference.cosine:.5f}; allowed is {allowed} "
            f"({tolerance.why}). {where()}. Nothing was written"
        )


def first_difference(
    model: Any,
    layer_outputs: Sequence[str],
    batch: Arrays,
    wanted: Sequence[NDArray[Any]],
    precision: str,
    options: Any,
) -> str:
    """Says which layer differs first.

    Args:
        model: the ``onnx.ModelProto``.
        layer_outputs: names of the values that leave its layers.
        batch: inputs.
        wanted: what leaves the model's layers, [batch, length, hidden] each.
        precision: key of :data:`TOLERANCES`.
        options: of the session.
    """
    import onnx

    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    opened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in layer_outputs)
    found = open_session(opened.SerializeToString(), options).run(None, dict(batch))
    for number, (values, other) in enumerate(zip(found, wanted, strict=True)):
        one = values if values.ndim == 3 else _laid_out(values, batch["attention_mask"])
        rows = other[:, : one.shape[1]]  # the last layer may compute first tokens only
        inputs = (
            batch
            if one.shape[1] == other.shape[1]
            else {"attention_mask": batch["attention_mask"][:, :1] | 1}
        )
        difference = compare([inputs], [{"layer": one}], [{"layer": rows}])["layer"]
        if not _is_within(difference, TOLERANCES[precision]):
            return (
                f"The first layer that differs is {number} of {len(layer_outputs)}, counted from 0 (largest difference "
                f"{difference.max_abs:.3g}, cosine {difference.cosine:.5f})"
            )
    return f"All {len(layer_outputs)} layers agree: what differs is behind the last one"


def _laid_out(rows: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """[tokens, C] -> [batch, length, C]; one row for each text -> [batch, 1, C]."""
    if len(rows) != mask.sum():
        return rows[:, None]
    values = np.zeros((*mask.shape, rows.shape[1]), rows.dtype)
    values[mask == 1] = rows
    return values
