# SPDX-License-Identifier: MIT
"""Golden outputs: what an encoder put out for a few fixed token sequences when it was saved.

``golden.safetensors`` holds the tokens back to back, where each sequence begins, and every output of the plan. Loaded
on any CPU, under any instruction set, the encoder must put out the same bits (``verification.py``). The sequences are
pseudo-random ids of different lengths, so that single tokens, partial tiles, local and long attention all run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastformers.encoder_plan import EncoderPlan, OutputPlan
from fastformers.errors import FormatError, NonFiniteError
from fastformers.kernels import NativeEncoder
from fastformers.runtime.expected_tensors import TensorRule
from fastformers.runtime.tensor_file import Tensors

__all__ = ["Golden"]

_LENGTHS = (1, 3, 17, 70, 300)
_SEED = 20_260_101
_OUTPUT = "outputs."


class Golden:
    """Token sequences with the outputs noted for them.

    Args:
        plan: of the encoder.
        ids: int32 [T], all sequences back to back.
        types: int32 [T], or ``None`` for an encoder without token types.
        offsets: int64 [n + 1], where each sequence begins and the last one ends.
        outputs: name -> float32 [T, C], or [n, C] for an output of one row a sequence.
    """

    def __init__(
        self,
        plan: EncoderPlan,
        ids: NDArray[np.int32],
        types: NDArray[np.int32] | None,
        offsets: NDArray[np.int64],
        outputs: Mapping[str, NDArray[np.float32]],
    ) -> None:
        self.plan = plan
        self.ids = ids
        self.types = types
        self.offsets = offsets
        self.outputs = dict(outputs)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [int(length) for length in np.diff(self.offsets)]

    @classmethod
    def record(cls, plan: EncoderPlan, native: NativeEncoder) -> Golden:
        """Runs the fixed sequences through an encoder.

        Raises:
            NonFiniteError: an output is NaN or infinite: the model is of no use.
        """
        lengths = [min(length, plan.max_tokens) for length in _LENGTHS]
        random = np.random.Generator(np.random.PCG64(_SEED))
        tokens = sum(lengths)
        ids = random.integers(0, plan.vocab, tokens, dtype=np.int32)
        types = random.integers(0, plan.types, tokens, dtype=np.int32) if plan.types > 0 else None
        golden = cls(plan, ids, types, np.cumsum([0, *lengths], dtype=np.int64), {})
        golden.outputs = golden.run(native, range(len(lengths)))
        for name, values in golden.outputs.items():
            if not np.isfinite(values).all():
                raise NonFiniteError(f"output {name} of the encoder holds NaN or infinity: it is not saved")
        return golden

    def run(
        self, native: NativeEncoder, sequences: Sequence[int], threads: int = 0
    ) -> dict[str, NDArray[np.float32]]:
        """Runs some of the sequences as one batch and returns all outputs by name."""
        rows = self._tokens(sequences)
        offsets = np.cumsum([0, *(self.lengths[i] for i in sequences)], dtype=np.int64)
        types = None if self.types is None else self.types[rows]
        names = [output.name for output in self.plan.outputs]
        return dict(zip(names, native.forward(self.ids[rows], types, offsets, names, threads), strict=True))

    def largest_difference(self, found: Mapping[str, NDArray[np.float32]], sequences: Sequence[int]) -> float:
        """Returns the largest difference of outputs of :meth:`run` from the noted ones; NaN where one is NaN."""
        differences = []
        for output in self.plan.outputs:
            rows: Any = self._tokens(sequences) if output.rows == "all" else list(sequences)
            noted = self.outputs[output.name][rows]
            differences.append(float(np.abs(found[output.name].astype(np.float64) - noted).max()))
        return float(np.max(differences))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns what is stored, by name."""
        types = {} if self.types is None else {"types": self.types}
        outputs = {_OUTPUT + name: values for name, values in self.outputs.items()}
        return {"ids": self.ids, **types, "offsets": self.offsets, **outputs}

    @classmethod
    def from_tensors(cls, plan: EncoderPlan, tensors: Tensors) -> Golden:
        """Takes stored tensors, which fit :meth:`rules`.

        Raises:
            FormatError: ids, types or offsets are out of range.
        """
        ids, offsets = tensors["ids"], tensors["offsets"]
        types = tensors.get("types")
        lengths = np.diff(offsets)
        if offsets[0] != 0 or offsets[-1] != len(ids) or lengths.min() < 1 or lengths.max() > plan.max_tokens:
            raise FormatError("golden.safetensors is refused: offsets is no series of sequences")
        for name, values, limit in (("ids", ids, plan.vocab), ("types", types, plan.types)):
            if values is not None and (values.min() < 0 or values.max() >= limit):
                raise FormatError(f"golden.safetensors is refused: {name} must be from 0 to {limit - 1}")
        outputs = {output.name: tensors[_OUTPUT + output.name] for output in plan.outputs}
        return cls(plan, ids, types, offsets, outputs)

    @staticmethod
    def rules(plan: EncoderPlan, tokens: int, sequences: int) -> dict[str, TensorRule]:
        """Returns what ``golden.safetensors`` must hold."""
        rules = {
            "ids": TensorRule(shape=(tokens,), dtypes=("int32",)),
            "offsets": TensorRule(shape=(sequences + 1,), dtypes=("int64",)),
        }
        if plan.types > 0:
            rules["types"] = TensorRule(shape=(tokens,), dtypes=("int32",))
        for output in plan.outputs:
            rows = tokens if output.rows == "all" else sequences
            rules[_OUTPUT + output.name] = TensorRule(shape=(rows, _columns(plan, output)))
        return rules

    def _tokens(self, sequences: Sequence[int]) -> NDArray[np.int64]:
        """Places of the tokens of some sequences."""
        parts = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in sequences]
        return np.concatenate(parts).astype(np.int64)


def _columns(plan: EncoderPlan, output: OutputPlan) -> int:
    return output.steps[-1].features if output.steps else plan.hidden
