# SPDX-License-Identifier: MIT
"""A module that holds weights packed for the CPU and stores them in canonical form.

The packed bytes are a non-persistent buffer, the only copy of the weights. Entries of a ``state_dict`` are worked out
from them on the fly: ``weight`` int8 [N, K], ``weight_scale`` float32 [N], and where the layer has them ``bias``
float32 [N] and ``input_factors`` float32 [K]. Pickles hold the same; copies in memory copy the bytes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fastformers.errors import DeviceError, FastformersError, ShapeError
from fastformers.kernels import PackedWeight
from fastformers.modules.canonical import Canonical, check_vectors

__all__ = ["PackedStorage"]

_Storage = TypeVar("_Storage", bound="PackedStorage")

_DERIVED = (
    "_weight",
    "_vectors",
    "_bias_address",
    "_factors_address",
)  # made by _bind, never copied or stored


class PackedStorage(nn.Module):
    """Weights of one linear layer, packed, with its bias and its equalisation factors.

    Attributes:
        in_features: K.
        out_features: N.
        packed: uint8, for the instruction set it was packed under.
        bias: float32 [N] or None; never trained.
        input_factors: float32 [K] or None.
    """

    in_features: int
    out_features: int
    packed: Tensor
    bias: nn.Parameter | None
    input_factors: Tensor | None
    _weight: PackedWeight
    _vectors: tuple[Tensor | None, Tensor | None]
    _bias_address: int
    _factors_address: int

    def _hold(self, canonical: Canonical) -> None:
        """Registers everything; called once."""
        if canonical.weight.ndim != 2:
            raise ShapeError(f"weight must have shape [N, K], got {list(canonical.weight.shape)}")
        self.out_features, self.in_features = canonical.weight.shape
        self.register_buffer("packed", None, persistent=False)
        self.register_buffer("input_factors", None)
        self.register_parameter("bias", None)
        self._fill(canonical)

    def _fill(self, canonical: Canonical) -> None:
        """Takes over canonical values; changes nothing when they are refused."""
        packed = canonical.pack()
        bias, factors = canonical.bias, canonical.factors
        copied = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        self._parameters["bias"] = copied
        self._buffers["input_factors"] = None if factors is None else factors.detach().clone()
        self._buffers["packed"] = packed
        self._bind()

    def _bind(self) -> None:
        """Points the kernel at the tensors' current storage."""
        packed = self.packed
        object.__setattr__(self, "_weight", PackedWeight.view(packed.data_ptr(), packed.numel(), packed))
        self._bind_vectors()

    def _bind_vectors(self) -> None:
        check_vectors(self.out_features, self.in_features, self.bias, self.input_factors)
        bias = None if self.bias is None else self.bias.detach().contiguous()
        factors = None if self.input_factors is None else self.input_factors.detach().contiguous()
        # Held here, so that their storage outlives whatever is done to the parameter between two calls.
        object.__setattr__(self, "_vectors", (bias, factors))
        object.__setattr__(self, "_bias_address", 0 if bias is None else bias.data_ptr())
        object.__setattr__(self, "_factors_address", 0 if factors is None else factors.data_ptr())

    def repack(self: _Storage) -> _Storage:
        """Packs the weights anew for the instruction set in use; returns the layer itself."""
        self._fill(self.canonical())
        return self

    def canonical(self) -> Canonical:
        """Returns the weights as they are stored: int8 [N, K], float32 scales [N], bias and factors."""
        weight, scale = self._weight.unpack()
        return Canonical(torch.from_numpy(weight), torch.from_numpy(scale), self.bias, self.input_factors)

    @property
    def isa(self) -> str:
        """Instruction set the weights are packed for."""
        return self._weight.isa

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        canonical = self.canonical()
        destination[prefix + "weight"] = canonical.weight
        destination[prefix + "weight_scale"] = canonical.weight_scale
        for name, vector in (("bias", canonical.bias), ("input_factors", canonical.factors)):
            if vector is not None:
                destination[prefix + name] = vector if keep_vars else vector.detach()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        found = _read_entries(
            (self.out_features, self.in_features),
            [name for name in ("bias", "input_factors") if getattr(self, name) is not None],
            state_dict,
            prefix,
            missing_keys,
            unexpected_keys if strict else [],
            error_msgs,
        )
        if found is None:
            return
        try:
            self._fill(found)
        except FastformersError as error:
            error_msgs.append(f"{prefix.rstrip('.') or 'PackedLinear'}: {error}")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedStorage:
        """Follows moves within the CPU (``share_memory``); stays float32 and INT8 whatever dtype is asked for."""
        for name, tensor in (
            ("packed", self.packed),
            ("bias", self.bias),
            ("input_factors", self.input_factors),
        ):
            if tensor is None:
                continue
            moved = fn(tensor.detach())
            if moved.device.type != "cpu":
                raise DeviceError(f"PackedLinear runs on the CPU and cannot be moved to {moved.device}")
            if moved.dtype != tensor.dtype or moved.data_ptr() == tensor.data_ptr():
                continue
            if name == "bias":
                self._parameters["bias"] = nn.Parameter(moved, requires_grad=False)
            else:
                self._buffers[name] = moved
        self._bind()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedStorage:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        own = {key: value for key, value in self.__dict__.items() if key not in _DERIVED}
        twin.__dict__.update(copy.deepcopy(own, memo))
        twin._bind()
        return twin

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key not in _DERIVED}
        state["_buffers"] = {**self._buffers, "packed": None}
        canonical = self.canonical()
        state["canonical"] = (canonical.weight, canonical.weight_scale)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        weight, scale = state.pop("canonical")
        super().__setstate__(state)  # type: ignore[no-untyped-call] # torch does not annotate it
        self._buffers["packed"] = Canonical(weight, scale, self.bias, self.input_factors).pack()
        self._bind()


def _read_entries(
    shape: tuple[int, int],
    vectors: Sequence[str],
    state: Mapping[str, Any],
    prefix: str,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> Canonical | None:
    """Takes a layer's canonical tensors from a state dict, in ``load_state_dict``'s way of reporting.

    Args:
        shape: the layer's (N, K).
        vectors: which of ``"bias"`` and ``"input_factors"`` the layer has.
        state: the state dict.
        prefix: the layer's name followed by a dot, or empty.
        missing: gets the names of absent keys.
        unexpected: gets the names of keys that the layer has no place for.
        errors: gets one sentence for a weight of another shape.

    Returns:
        The values, not looked into yet, or None when one is missing or the weight has another shape.
    """
    wanted = ["weight", "weight_scale", *vectors]
    absent = [prefix + key for key in wanted if prefix + key not in state]
    missing.extend(absent)
    own = {key for key in state if key.startswith(prefix) and "." not in key[len(prefix) :]}
    unexpected.extend(sorted(own - {prefix + key for key in wanted}))
    if absent:
        return None
    entries: dict[str, Tensor] = {key: state[prefix + key] for key in wanted}
    weight = entries["weight"]
    if tuple(weight.shape) != shape:
        errors.append(f"{prefix}weight has shape {list(weight.shape)}, the layer holds {list(shape)}")
        return None
    return Canonical(weight, entries["weight_scale"], entries.get("bias"), entries.get("input_factors"))
