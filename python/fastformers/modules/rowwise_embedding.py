# SPDX-License-Identifier: MIT
"""``RowwiseEmbedding``: an embedding table in 8 bits with a scale and a bias for each row, looked up by fbgemm-gpu.

The table has fbgemm's fused layout: a row is its values as u8, then scale and bias as float32, so that one read brings
all three. A value is ``q * scale + bias``, with bias the row's least value and scale a 255th of its range. It is what
fbgemm-gpu's operator ``FloatToFused8BitRowwiseQuantized`` puts out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastformers._optional import require
from fastformers.errors import DtypeError, MissingExtraError, NonFiniteError, ShapeError

__all__ = ["RowwiseEmbedding"]

#: Scale and bias of a row, float32.
_TAIL_BYTES = 8
_QUANTIZE, _DEQUANTIZE = "FloatToFused8BitRowwiseQuantized", "Fused8BitRowwiseQuantizedToFloat"


class RowwiseEmbedding(nn.Module):
    """An embedding table in 8 bits, for inference; called as ``nn.Embedding`` is.

    Args:
        table: uint8 [rows, columns + 8], in fbgemm's fused layout.

    Attributes:
        table: the argument, a buffer.
        num_embeddings: rows.
        embedding_dim: columns.
        padding_idx: ``None``: it only matters in training.

    Raises:
        MissingExtraError: fbgemm-gpu is not installed, or was built for another torch.
        DtypeError, ShapeError: the table is not of that layout.

    Example:
        >>> RowwiseEmbedding.from_float(torch.randn(1000, 64))(torch.tensor([[3, 7]])).shape  # doctest: +SKIP
        torch.Size([1, 2, 64])
    """

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        _operators()
        if table.dtype != torch.uint8:
            raise DtypeError(f"a fused table is uint8, got {table.dtype}")
        if table.ndim != 2 or table.shape[1] <= _TAIL_BYTES:
            raise ShapeError(
                f"a fused table has shape [rows, columns + {_TAIL_BYTES}], got {list(table.shape)}"
            )
        self.register_buffer("table", table.contiguous())
        self.num_embeddings, self.embedding_dim = table.shape[0], table.shape[1] - _TAIL_BYTES
        self.padding_idx: int | None = None

    @classmethod
    def from_float(cls, weight: Tensor, name: str = "table") -> RowwiseEmbedding:
        """Rounds a table, float32 [rows, columns], to 255 steps from the least to the largest value of each row.

        Args:
            weight: the values.
            name: what error messages call it.

        Raises:
            NonFiniteError: a value is NaN or infinite; names table and row.
            DtypeError, ShapeError: not float32, or not two-dimensional.
            MissingExtraError: as for the class.
        """
        if weight.dtype != torch.float32:
            raise DtypeError(f"{name} is {weight.dtype}, must be float32")
        if weight.ndim != 2 or not weight.numel():
            raise ShapeError(f"{name} must have shape [rows, columns], got {list(weight.shape)}")
        wrong = ~torch.isfinite(weight).all(dim=1)
        if wrong.any():
            raise NonFiniteError(f"row {int(wrong.int().argmax())} of {name} holds NaN or infinity")
        return cls(getattr(_operators(), _QUANTIZE)(weight.detach().contiguous()))

    @classmethod
    def from_parts(cls, values: Tensor, scale: Tensor, bias: Tensor) -> RowwiseEmbedding:
        """Puts a table together from what :meth:`parts` returned."""
        tail = torch.stack([scale, bias], dim=1).contiguous().view(torch.uint8)
        return cls(torch.cat([values, tail], dim=1))

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns copies: values u8 [rows, columns], scales float32 [rows], biases float32 [rows]."""
        tail = self.table[:, self.embedding_dim :].contiguous().view(torch.float32)
        return self.table[:, : self.embedding_dim].contiguous(), tail[:, 0].clone(), tail[:, 1].clone()

    @property
    def weight(self) -> Tensor:
        """The whole table as float32 [rows, columns], made anew at each access: for code that reads weights."""
        return self._floats(self.table)

    def forward(self, input: Tensor) -> Tensor:
        """Looks rows up.

        Args:
            input: int64 or int32 of any shape, from 0 to ``num_embeddings`` - 1.

        Returns:
            float32 [*input.shape, columns].
        """
        rows = self.table.index_select(0, input.reshape(-1))
        return self._floats(rows).view(*input.shape, self.embedding_dim)

    def extra_repr(self) -> str:
        """Shows the shape, as ``nn.Embedding`` does."""
        return f"{self.num_embeddings}, {self.embedding_dim}, 8 bits a value, scale and bias a row"

    @staticmethod
    def _floats(rows: Tensor) -> Tensor:
        found: Tensor = getattr(_operators(), _DEQUANTIZE)(rows)
        return found


def _operators() -> Any:
    """The operators, which importing the package registers with torch."""
    package = require("fbgemm_gpu", "fbgemm", "an 8-bit embedding table of a torch model")
    operators = torch.ops.fbgemm
    if not (hasattr(operators, _QUANTIZE) and hasattr(operators, _DEQUANTIZE)):
        raise MissingExtraError(
            f"fbgemm-gpu {package.__version__} does not work with torch {torch.__version__}: install the version "
            "that was built for it (fbgemm-gpu-cpu 1.8 for torch 2.13)"
        )
    return operators
