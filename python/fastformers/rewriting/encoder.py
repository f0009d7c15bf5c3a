# SPDX-License-Identifier: MIT
"""``Encoder``: a whole transformers encoder in one native call, behind the signature of the model it came from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastformers import kernels
from fastformers.encoder_plan import TOKEN_SCORES, EncoderPlan
from fastformers.errors import ConfigError, DeviceError, DtypeError, ShapeError, UnsupportedModelError
from fastformers.rewriting.outputs import output_class
from fastformers.rewriting.padding import PositionRule, Ragged, integers_of, pack, spread
from fastformers.span_head import SpanHead
from fastformers.text_head import TextHead, logits_of

__all__ = ["Encoder"]

#: State that copies share: it is never written.
_SHARED = frozenset({"plan", "tensors", "text_head", "_native"})


class Encoder(nn.Module):
    """Runs a plan natively; made by :func:`fastformers.compile`.

    Called as the model it came from, with the same results: padding is taken out first, so a text's result is
    bit-identical whatever its batch mates, its padding and the thread count. Inference on the CPU only: it cannot be
    trained or moved, and results carry no gradient. Calls from several threads at once are safe. Pickles hold
    the tensors and pack them anew; deep copies share what is packed.

    Args:
        plan: what is computed.
        tensors: by the names of :mod:`fastformers.encoder_plan`; kept as they are.
        config: the transformers configuration as a dict.
        result: name of the output class in ``transformers.modeling_outputs``, or ``"EmbeddingOutput"``.
        threads: of a call; None for :func:`fastformers.kernels.num_threads`.
        attention: ``"auto"``, ``"float32"`` or ``"int8"``.
        notes: what the user should know.
        report: how its linear layers were quantized, if they were.
        text_head: turns rows into logits; over marked spans calls then need ``spans``.

    Attributes:
        plan: as given.
        tensors: as given, canonical, for saving. Float32 ones share the memory of the model they came from: save
            before that model is changed.
        config: as given.
        result: as given.
        attention: as given.
        notes: as given.
        report: as given.
        text_head: as given.

    Raises:
        ShapeError, ConfigError, NonFiniteError: plan and tensors do not fit, or hold NaN; names the tensor.

    Example:
        >>> fast = ff.compile(model, tokenizer=tokenizer)
        >>> fast(**tokenizer(["a text"], return_tensors="pt")).logits.shape
        torch.Size([1, 2])
    """

    plan: EncoderPlan
    tensors: dict[str, NDArray[Any]]
    config: dict[str, Any]

    def __init__(
        self,
        plan: EncoderPlan,
        tensors: Mapping[str, NDArray[Any]],
        *,
        config: Mapping[str, Any],
        result: str,
        threads: int | None = None,
        attention: str = "auto",
        notes: tuple[str, ...] = (),
        report: Any | None = None,
        text_head: TextHead | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.tensors = dict(tensors)
        self.config = dict(config)
        self.result = result
        self.attention = attention
        self.notes = notes
        self.report = report
        self.text_head = text_head
        self._threads = threads or 0
        self._make()
        super().train(False)

    def _make(self) -> None:
        """Packs the weights, and works out what every call needs."""
        self._native = kernels.NativeEncoder(
            self.plan.to_dict(), self.tensors, threads=self._threads, attention=self.attention
        )
        self._names = [output.name for output in self.plan.outputs]
        self._rule = _position_rule(self.plan, self.tensors)
        self._class = output_class(self.result)
        given = self._names if self.text_head is None else ["logits"]
        absent = set(given) - getattr(self._class, "__dataclass_fields__", {}).keys()
        if absent:
            raise ConfigError(f"{self.result} has no {min(absent)!r}, which the encoder puts out")

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        spans: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> Any:
        """Computes the outputs of a batch.

        Args:
            input_ids: int64 or int32 [sequences, length].
            attention_mask: 0 and 1, same shape; padding at either end of a row. None keeps every token.
            token_type_ids: int64 or int32, same shape; None is all 0.
            spans: of a span classifier: int64 or int32, token ranges [start, end), shape [sequences, spans, 2].
            position_ids: refused unless they number each sequence's tokens as the model does anyway.
            inputs_embeds: refused.
            labels: refused: there is no loss.
            return_dict: False gives a tuple.
            **others: of the model's other arguments, only those that ask for nothing (None, False).

        Returns:
            The output class of the model it came from, float32; rows of padding are zeros, ``hidden_states`` and
            ``attentions`` None.

        Raises:
            ShapeError: a wrong shape, an id out of range, too long a sequence, or a mask that leaves nothing of a
                sequence or makes gaps in it.
            DtypeError, DeviceError: a tensor of another dtype or device.
            ConfigError: an argument that is refused.
        """
        _refuse(inputs_embeds=inputs_embeds, labels=labels, **others)
        if spans is not None and not isinstance(self.text_head, SpanHead):
            raise ConfigError("spans are given, and the model reads none: leave them out")
        if input_ids is None:
            raise ConfigError("input_ids is missing: a compiled encoder begins at token ids")
        ragged = pack(input_ids, attention_mask, token_type_ids, position_ids, self._rule)
        arrays = self._native.forward(
            ragged.ids, self._types(ragged), ragged.offsets, self._names, self._threads
        )
        if self.text_head is not None:
            logits = torch.from_numpy(_logits(self.text_head, arrays[0], ragged, spans))
            return (logits,) if return_dict is False else self._class(logits=logits)
        found = {
            output.name: _placed(output.name, array, ragged, output.rows == "all")
            for output, array in zip(self.plan.outputs, arrays, strict=True)
        }
        return tuple(found.values()) if return_dict is False else self._class(**found)

    def _types(self, ragged: Ragged) -> NDArray[Any] | None:
        if ragged.types is None or self.plan.types:
            return ragged.types
        if ragged.types.any():
            raise ShapeError("token_type_ids are not 0, and this model has no token types: leave them out")
        return None

    @property
    def weight_bytes(self) -> int:
        """Bytes of the packed weights that calls read."""
        return int(self._native.weight_bytes)

    @property
    def native(self) -> kernels.NativeEncoder:
        """The packed encoder that calls run."""
        return self._native

    @property
    def workspace_bytes(self) -> int:
        """Bytes of scratch memory held for calls."""
        return int(self._native.workspace_bytes)

    @property
    def isa(self) -> str:
        """Instruction set the weights are packed for."""
        return str(self._native.isa)

    @property
    def threads(self) -> int | None:
        """Threads of a call; None for :func:`fastformers.kernels.num_threads`."""
        return self._threads or None

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of the results."""
        return torch.float32

    def train(self, mode: bool = True) -> Encoder:
        """Refuses to be trained; ``eval()`` changes nothing.

        Raises:
            UnsupportedModelError: ``mode`` is True.
        """
        if mode:
            raise UnsupportedModelError(
                "a compiled encoder cannot be trained: train the model, then compile it"
            )
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Encoder:
        """Refuses moves to other devices and dtypes."""
        moved = fn(torch.zeros(1, dtype=torch.float32))
        if moved.device.type != "cpu":
            raise DeviceError(f"a compiled encoder runs on the CPU and cannot be moved to {moved.device}")
        if moved.dtype != torch.float32:
            raise DtypeError(f"a compiled encoder gives float32 and cannot be made {moved.dtype}")
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Encoder:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        own = {
            key: value if key in _SHARED else copy.deepcopy(value, memo)
            for key, value in self.__dict__.items()
        }
        twin.__dict__.update(own)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_native", "_names", "_rule", "_class")
        return {key: value for key, value in self.__dict__.items() if key not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call] # torch does not annotate it
        self._make()

    def extra_repr(self) -> str:
        """Describes the encoder in one line."""
        return (
            f"layers={len(self.plan.layers)}, hidden={self.plan.hidden}, outputs={self._names}, "
            f"weight_bytes={self.weight_bytes}, isa={self.isa}"
        )


def _logits(head: TextHead, rows: NDArray[Any], ragged: Ragged, spans: Tensor | None) -> NDArray[np.float32]:
    ranges = None if spans is None else integers_of(spans, "spans")
    if ranges is not None and ragged.keep is not None and ranges.ndim == 3:
        ranges = ranges - ragged.keep.argmax(axis=1)[:, None, None]  # from the first token that is no padding
    return logits_of(head, rows, ragged.offsets, ragged.ids, ranges)


def _position_rule(plan: EncoderPlan, tensors: Mapping[str, Any]) -> PositionRule:
    """A position table that does not begin at row 0 has the padding id's row before its first."""
    relative = any(layer.window >= 0 or layer.rope_base for layer in plan.layers)
    relative = relative or any(name.endswith(".relative_bias") for name in tensors)
    padding_id = plan.position_offset - 1 if plan.position_offset else None
    return PositionRule(padding_id, relative, plan.position_offset)


def _refuse(**given: Any) -> None:
    for name, value in given.items():
        if value is not None and value is not False:
            raise ConfigError(
                f"{name} is not covered by a compiled encoder, which computes its outputs from token ids: leave it out"
            )


def _placed(name: str, array: NDArray[Any], ragged: Ragged, all_rows: bool) -> Tensor:
    if not all_rows:
        return torch.from_numpy(array)
    result = spread(array, ragged)
    return result.squeeze(-1) if name in TOKEN_SCORES else result
