# SPDX-License-Identifier: MIT
"""``PackedLinear``: an INT8 ``nn.Linear`` for inference on CPUs, with the activation fused into it.

The module holds one copy of its weights: the bytes packed for the instruction set in use, as a non-persistent
buffer. What it stores and pickles is canonical (int8 [N, K] and one scale per output column), worked out from the
packed bytes on the fly, so one file serves every CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._C import _get_tracing_state as is_traced
from torch.compiler import is_compiling

from fastformers import _core
from fastformers._arrays import matrix_of
from fastformers.errors import ConfigError, DtypeError, IsaError
from fastformers.kernels import ACTIVATIONS, Activation, active_isa
from fastformers.modules.canonical import Canonical
from fastformers.modules.custom_op import packed_linear
from fastformers.modules.packed_storage import PackedStorage

__all__ = ["PackedLinear", "holds_packed_layers"]


class PackedLinear(PackedStorage):
    """y = activation((x * input_factors) @ W.T + bias) with W in s8, x quantized per row on the fly, y float32.

    Made with :meth:`from_linear` or :meth:`from_quantized`; the plain constructor gives all-zero weights, to be
    filled by ``load_state_dict``. Inference only: the output never requires grad. A row's result does not depend
    on the other rows, on the thread count or on the instruction set (with ``per_tensor=False``).

    Args:
        in_features: K, at most 65,536.
        out_features: N.
        bias: whether a bias is added.
        activation: fused into the matmul: None, "relu", "gelu" (erf) or "gelu_tanh".
        per_tensor: one activation range for all rows of a call instead of one per row.
        input_factors: whether the K inputs are multiplied by equalisation factors first.

    Raises:
        ConfigError: the activation is unknown.
        ShapeError: K or N is out of range.

    Example:
        >>> layer = PackedLinear.from_linear(nn.Linear(384, 1536), activation="gelu")
        >>> layer(torch.randn(2, 7, 384)).shape
        torch.Size([2, 7, 1536])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation: Activation | None = None,
        per_tensor: bool = False,
        input_factors: bool = False,
    ) -> None:
        super().__init__()
        canonical = Canonical.zeros(out_features, in_features, bias=bias, factors=input_factors)
        self._assign(canonical, activation, per_tensor)

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        activation: Activation | None = None,
        *,
        factors: Tensor | None = None,
        per_tensor: bool = False,
    ) -> PackedLinear:
        """Rounds a float layer's weights to the nearest of 255 steps per output column.

        Args:
            linear: float32 layer on the CPU; it is left as it is.
            activation: applied to the output inside the kernel.
            factors: float32 [K], multiply the inputs; the weights are divided by them before rounding.
            per_tensor: one activation range for all rows of a call.

        Raises:
            DtypeError, DeviceError, ShapeError, NonFiniteError: the layer cannot be packed; says why.
        """
        canonical = Canonical.rounded(linear.weight, linear.bias, factors)
        return cls._made_of(canonical, activation, per_tensor).train(linear.training)

    @classmethod
    def from_quantized(
        cls,
        weight: Tensor,
        weight_scale: Tensor,
        bias: Tensor | None = None,
        *,
        factors: Tensor | None = None,
        activation: Activation | None = None,
        per_tensor: bool = False,
    ) -> PackedLinear:
        """Packs weights that are already rounded.

        Args:
            weight: int8 [N, K] in [-127, 127]; already divided by ``factors``.
            weight_scale: float32 [N], finite and not negative.
            bias: float32 [N].
            factors: float32 [K], positive; multiply the inputs.
            activation: applied to the output inside the kernel.
            per_tensor: one activation range for all rows of a call.

        Raises:
            DtypeError, DeviceError, ShapeError, NonFiniteError: an argument is refused; says which and why.
        """
        return cls._made_of(Canonical(weight, weight_scale, bias, factors), activation, per_tensor)

    @classmethod
    def _made_of(cls, canonical: Canonical, activation: Activation | None, per_tensor: bool) -> PackedLinear:
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer._assign(canonical, activation, per_tensor)
        return layer

    def _assign(self, canonical: Canonical, activation: Activation | None, per_tensor: bool) -> None:
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation is {activation!r}; allowed: {', '.join(map(repr, ACTIVATIONS))}")
        self.activation = activation
        self.per_tensor = bool(per_tensor)
        self._hold(canonical)

    def forward(self, input: Tensor) -> Tensor:
        """Applies the layer.

        Args:
            input: float32 tensor on the CPU, shape [..., K]; no row at all gives an empty result. Rows with unit last
                stride and even spacing are read in place, others are copied first. Named as in ``nn.Linear``.

        Returns:
            New float32 tensor of shape [..., N]. A row that holds NaN or infinity gives a row of NaN.

        Raises:
            DtypeError, DeviceError, ShapeError: the input is refused; says why.
            IsaError: the instruction set was changed after packing; see :meth:`repack`.
        """
        x = input
        if type(x) is not Tensor or is_compiling() or is_traced() is not None:
            return self._forward_dispatched(x)
        shape = x.shape
        depth = self.in_features
        stride = depth
        if (
            x.dtype is not torch.float32
            or not x.is_cpu
            or not shape
            or shape[-1] != depth
            or not x.is_contiguous()
            or x.is_neg()
        ):
            rows = matrix_of(x, "x", columns=depth)  # raises, or finds the rows of a strided view
            x, stride = rows.owner, rows.stride
        columns = self.out_features
        out = x.new_empty((*shape[:-1], columns))
        count = out.numel() // columns
        if count == 0:
            return out
        bias, factors = self._parameters["bias"], self._buffers["input_factors"]
        if (0 if bias is None else bias.data_ptr()) != self._bias_address or (
            0 if factors is None else factors.data_ptr()
        ) != self._factors_address:
            self._bind_vectors()
        try:
            _core.linear(
                x.data_ptr(),
                count,
                stride,
                self._weight,
                self._bias_address,
                self._factors_address,
                0,
                0,
                out.data_ptr(),
                columns,
                ACTIVATIONS[self.activation],
                self.per_tensor,
                0,
            )
        except IsaError:
            raise self._wrong_isa() from None
        return out

    def _forward_dispatched(self, x: Tensor) -> Tensor:
        """The way of tracers and tensor subclasses: one node in the graph, no gradient."""
        if not isinstance(x, Tensor):
            raise DtypeError(f"x must be a torch.Tensor, got {type(x).__name__}")
        code, factors = ACTIVATIONS[self.activation], self.input_factors
        out: Tensor = packed_linear(
            x.detach(), self.packed, self.bias, factors, self.out_features, code, self.per_tensor
        )
        return out

    def _wrong_isa(self) -> IsaError:
        return IsaError(
            f"this layer was packed for {self.isa!r} and {active_isa()!r} is in use now: call its repack(), "
            "or go back to the first instruction set"
        )

    @property
    def weight(self) -> Tensor:
        """What the layer multiplies by, as float32 [N, K]: worked out anew at each access, for inspection."""
        canonical = self.canonical()
        weight = canonical.weight.float() * canonical.weight_scale[:, None]
        return weight if canonical.factors is None else weight * canonical.factors

    def extra_repr(self) -> str:
        """Describes the layer in one line."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"activation={self.activation}, equalized={self.input_factors is not None}, isa={self.isa}"
        )


def holds_packed_layers(model: nn.Module) -> bool:
    """Whether a torch model has INT8 layers: it answers, on the CPU, and can no longer be trained or quantized."""
    return any(isinstance(module, PackedLinear) for module in model.modules())
