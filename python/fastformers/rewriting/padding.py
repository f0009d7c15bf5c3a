# SPDX-License-Identifier: MIT
"""Takes padding out of a batch before it is computed, and puts results back where the tokens were.

The encoder knows no padding: the tokens of all sequences lie back to back. The first token that the mask keeps is a
sequence's first, whatever is before it, so a text has the same result padded left, right or not at all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastformers.errors import DeviceError, DtypeError, ShapeError

__all__ = ["PositionRule", "Ragged", "integers_of", "pack", "spread"]

_LARGEST_INT32 = 2**31 - 1
_INTEGERS = (torch.int64, torch.int32)
_MASKS = (*_INTEGERS, torch.bool, torch.uint8, torch.int8, torch.float32)


class PositionRule(NamedTuple):
    """How a model numbers tokens when some are masked out.

    Attributes:
        padding_id: positions count the tokens with other ids (RoBERTa, MPNet); None when they count all tokens.
        relative: attention depends on the distance of two tokens (relative biases, rotary positions, windows).
        first: number of the first token.
    """

    padding_id: int | None
    relative: bool
    first: int


class Ragged(NamedTuple):
    """A batch without padding.

    Attributes:
        ids: int32 [T], the tokens of all sequences back to back.
        types: int32 [T], or None.
        offsets: int64 [sequences + 1]; sequence i is ``ids[offsets[i]:offsets[i + 1]]``.
        keep: bool [sequences, length], where the tokens were; None when there is no padding.
        shape: (sequences, length).
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32] | None
    offsets: NDArray[np.int64]
    keep: NDArray[np.bool_] | None
    shape: tuple[int, int]


def pack(
    input_ids: Tensor,
    attention_mask: Tensor | None,
    token_type_ids: Tensor | None,
    position_ids: Tensor | None,
    rule: PositionRule,
) -> Ragged:
    """Takes the padding out.

    Args:
        input_ids: int64 or int32 [sequences, length].
        attention_mask: 0 and 1 in the same shape, at least one 1 in each row; None keeps every token.
        token_type_ids: int64 or int32 in the same shape, or None.
        position_ids: None, or for every token the number it has anyway.
        rule: how the model numbers tokens.

    Raises:
        ShapeError: a wrong shape, an empty sequence, a mask of other numbers, or one whose gaps would change positions.
        DtypeError, DeviceError: a tensor of another dtype or device.
    """
    ids = _plain(input_ids, "input_ids", _INTEGERS)
    if ids.ndim != 2 or not ids.size:
        raise ShapeError(
            f"input_ids has shape {list(ids.shape)}, expected [sequences, length], both at least 1"
        )
    keep = None if attention_mask is None else _kept(attention_mask, ids.shape)
    if keep is not None:
        _check_gaps(ids, keep, rule)
    if attention_mask is None and rule.padding_id is not None:
        _check_padding_ids(ids, rule.padding_id)
    if position_ids is not None:
        _check_positions(position_ids, ids, keep, rule)
    types = None if token_type_ids is None else _like(token_type_ids, "token_type_ids", ids.shape)
    if keep is None:
        rows, length = ids.shape
        offsets = np.arange(0, rows * length + 1, length, dtype=np.int64)
    else:
        offsets = np.zeros(ids.shape[0] + 1, np.int64)
        np.cumsum(keep.sum(axis=1), out=offsets[1:])
    return Ragged(
        _as_int32(ids, keep, "input_ids"),
        None if types is None else _as_int32(types, keep, "token_type_ids"),
        offsets,
        keep,
        (ids.shape[0], ids.shape[1]),
    )


def spread(rows: NDArray[np.float32], ragged: Ragged) -> Tensor:
    """Puts rows [T, C] back: [sequences, length, C], zeros where there is padding."""
    if ragged.keep is None:
        return torch.from_numpy(rows).view(*ragged.shape, rows.shape[1])
    result = np.zeros((*ragged.shape, rows.shape[1]), np.float32)
    result[ragged.keep] = rows
    return torch.from_numpy(result)


def integers_of(tensor: Any, name: str) -> NDArray[Any]:
    """The numbers of an int64 or int32 tensor on the CPU, of any shape.

    Raises:
        DtypeError, DeviceError: it is no such tensor.
    """
    return _plain(tensor, name, _INTEGERS)


def _plain(tensor: Any, name: str, dtypes: tuple[torch.dtype, ...]) -> NDArray[Any]:
    if not isinstance(tensor, Tensor):
        raise DtypeError(f"{name} is {type(tensor).__name__}, expected a torch.Tensor")
    if not tensor.is_cpu:
        raise DeviceError(f"{name} is on {tensor.device}; a compiled encoder runs on the CPU: {name}.cpu()")
    if tensor.dtype not in dtypes:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise DtypeError(f"{name} is {str(tensor.dtype).removeprefix('torch.')}, expected {allowed}")
    array: NDArray[Any] = tensor.detach().numpy()
    return array


def _like(
    tensor: Any, name: str, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...] = _INTEGERS
) -> NDArray[Any]:
    array = _plain(tensor, name, dtypes)
    if array.shape != shape:
        raise ShapeError(f"{name} has shape {list(array.shape)}, input_ids has {list(shape)}")
    return array


def _kept(mask: Any, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """The mask as bools; None when it keeps all."""
    array = _like(mask, "attention_mask", shape, _MASKS)
    keep: NDArray[np.bool_] = array if array.dtype == np.bool_ else array == 1
    if keep.all():
        return None
    if array.dtype != np.bool_ and not (keep | (array == 0)).all():
        raise ShapeError("attention_mask holds other numbers than 0 and 1")
    empty = ~keep.any(axis=1)
    if empty.any():
        raise ShapeError(f"attention_mask leaves no token of sequence {int(empty.argmax())}")
    return keep


def _check_gaps(ids: NDArray[Any], keep: NDArray[np.bool_], rule: PositionRule) -> None:
    """Masked tokens between kept ones may only be those that get no number anyway."""
    length = keep.shape[1]
    last = length - 1 - keep[:, ::-1].argmax(axis=1)
    spans = last - keep.argmax(axis=1) + 1
    gaps = spans != keep.sum(axis=1)
    if rule.padding_id is not None and not rule.relative:
        after_first = np.logical_or.accumulate(keep, axis=1)
        before_last = np.logical_or.accumulate(keep[:, ::-1], axis=1)[:, ::-1]
        numbered = after_first & before_last & ~keep & (ids != rule.padding_id)
        gaps = numbered.any(axis=1)
    if gaps.any():
        raise ShapeError(
            f"attention_mask leaves out tokens inside sequence {int(gaps.argmax())}, which would keep their positions: "
            "only padding at the ends can be left out"
        )


def _check_padding_ids(ids: NDArray[Any], padding_id: int) -> None:
    """A mask that keeps padding may mean it (a text can hold the padding token); no mask at all is a mistake."""
    found = (ids == padding_id).any(axis=1)
    if found.any():
        raise ShapeError(
            f"sequence {int(found.argmax())} holds padding (id {padding_id}), and no attention_mask tells whether it "
            "is to be left out: pass the tokenizer's attention_mask"
        )


def _check_positions(
    position_ids: Any, ids: NDArray[Any], keep: NDArray[np.bool_] | None, rule: PositionRule
) -> None:
    given, shape = _plain(position_ids, "position_ids", _INTEGERS), ids.shape
    if (
        given.ndim > 2
        or given.shape[-1:] != shape[-1:]
        or (given.ndim == 2 and given.shape[0] not in (1, shape[0]))
    ):
        raise ShapeError(f"position_ids has shape {list(given.shape)}, input_ids has {list(shape)}")
    kept = np.ones(shape, np.bool_) if keep is None else keep
    counted = kept if rule.padding_id is None else kept & (ids != rule.padding_id)
    default = np.cumsum(counted, axis=1) * counted + rule.first - 1
    if not (np.broadcast_to(given, shape) == default)[kept].all():
        raise ShapeError(
            f"position_ids other than {rule.first}, {rule.first + 1}, ... for each sequence's tokens are not covered: "
            "leave position_ids out"
        )


def _as_int32(values: NDArray[Any], keep: NDArray[np.bool_] | None, name: str) -> NDArray[np.int32]:
    kept = np.ascontiguousarray(values).reshape(-1) if keep is None else values[keep]
    bits = int(np.bitwise_or.reduce(kept))  # negative when any number is, too large when any is
    if bits < 0 or bits > _LARGEST_INT32:
        wrong = kept[(kept < 0) | (kept > _LARGEST_INT32)]
        raise ShapeError(f"{name} holds {int(wrong[0])}, out of range")
    return kept.astype(np.int32)
