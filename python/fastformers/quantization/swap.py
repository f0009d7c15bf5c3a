# SPDX-License-Identifier: MIT
"""Replaces layers in a model so that it can be undone: after an error the model is as it was, bit for bit.

With ``keep=True`` (an agreement gate is set) the float layers stay in memory until :meth:`Swap.commit`. Otherwise
each is freed as soon as it is replaced, and its weight goes to an unnamed temporary file first: an interrupted
conversion of a large model is undone from there, while the process never holds two copies of the weights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from fastformers.modules import PackedLinear
from fastformers.quantization.families import FAST_PATHS
from fastformers.quantization.memory import page_out
from fastformers.quantization.plan import LayerPlan, Site

__all__ = ["Swap"]


class Swap:
    """One all-or-nothing change of a model; use as a context manager.

    Leaving the ``with`` block without :meth:`commit`, by an exception or not, puts everything back.

    Args:
        keep: hold the float layers in memory instead of in a temporary file.
    """

    def __init__(self, keep: bool) -> None:
        self.notes: list[str] = []
        self._keep = keep
        self._undo: list[_Undo] = []
        self._committed = False
        self._file: BinaryIO | None = None

    def __enter__(self) -> Swap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._committed:
            for undo in reversed(self._undo):
                undo()
        self._undo.clear()
        if self._file is not None:
            self._file.close()

    def commit(self) -> None:
        """Makes the change final."""
        self._committed = True
        for undo in self._undo:
            undo.forget()

    def replace_layer(self, plan: LayerPlan, packed: PackedLinear) -> None:
        """Puts a packed layer, and Identity for a fused activation, in the float one's places.

        Args:
            plan: the layer; its ``linear`` becomes None.
            packed: what replaces it.
        """
        linear = plan.linear
        assert linear is not None
        stored = linear if self._keep else self._stored(linear)
        plan.linear = None
        del linear
        for site in plan.sites:
            self._replace(site, packed, stored)
        if plan.activation_site is not None:
            site = plan.activation_site
            self.replace_attribute(site.parent, site.attribute, nn.Identity().train(site.parent.training))

    def leave_fast_paths(self, model: nn.Module, plans: Iterable[LayerPlan]) -> int:
        """Switches off torch's fused inference paths, which would read the weights of layers that are swapped.

        Args:
            model: the model.
            plans: layers that may be swapped.

        Returns:
            How many modules were changed.
        """
        parents = {id(site.parent) for plan in plans for site in plan.sites}
        changed = 0
        for module in model.modules():
            for kind, attribute, value in FAST_PATHS:
                if not isinstance(module, kind) or getattr(module, attribute, value) == value:
                    continue
                if any(id(part) in parents for part in module.modules()):
                    self.replace_attribute(module, attribute, value)
                    changed += 1
        return changed

    def replace_attribute(self, parent: nn.Module, attribute: str, value: Any) -> None:
        """Sets any attribute of a module, a submodule or a plain value."""
        self._undo.append(_Undo(Site(parent, attribute, attribute), getattr(parent, attribute)))
        _put(parent, attribute, value)

    def _replace(self, site: Site, packed: PackedLinear, stored: nn.Linear | _StoredLinear) -> None:
        self._undo.append(_Undo(site, stored))
        _put(site.parent, site.attribute, packed.train(site.parent.training))

    def _stored(self, linear: nn.Linear) -> nn.Linear | _StoredLinear:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="fastformers-undo-")
            return _StoredLinear(linear, self._file)
        except OSError as error:
            if not self.notes:
                self.notes.append(
                    f"no room for an undo file ({error}): float weights were held until the end instead"
                )
            return linear


class _StoredLinear:
    """A float layer without its weight, which lies in a file."""

    def __init__(self, linear: nn.Linear, file: BinaryIO) -> None:
        weight = linear.weight
        self._file = file
        self._offset = file.seek(0, 2)
        self._shape = tuple(weight.shape)
        self._requires_grad = weight.requires_grad
        file.write(weight.detach().contiguous().numpy().data)
        file.flush()  # a full disk shows now, while the layer is still in memory
        page_out(weight)
        self._shell = nn.Linear.__new__(nn.Linear)
        self._shell.__dict__.update(linear.__dict__)
        self._shell.__dict__["_parameters"] = {**linear._parameters, "weight": None}
        self._restored = False

    def restore(self) -> nn.Linear:
        """The layer as it was; the same object at every call."""
        if not self._restored:
            self._shell._parameters["weight"] = nn.Parameter(self._read(), self._requires_grad)
            self._restored = True
        return self._shell

    def _read(self) -> Tensor:
        values = np.empty(self._shape, np.float32)
        self._file.seek(self._offset)
        view = memoryview(values.data).cast("B")
        while len(view):
            count = self._file.readinto(view)  # type: ignore[attr-defined] # a buffered binary file has it
            if not count:
                raise OSError("the undo file was cut short")
            view = view[count:]
        return torch.from_numpy(values)


class _Undo:
    """Puts one attribute of one module back."""

    def __init__(self, site: Site, value: Any) -> None:
        self._site = site
        self._value = value

    def forget(self) -> None:
        """Lets go of what would have been put back."""
        if isinstance(self._value, nn.Linear):
            page_out(self._value.weight)
        self._value = None

    def __call__(self) -> None:
        value = self._value.restore() if isinstance(self._value, _StoredLinear) else self._value
        _put(self._site.parent, self._site.attribute, value)


def _put(parent: nn.Module, attribute: str, value: Any) -> None:
    """Sets an attribute that may change between a registered module and a plain value."""
    if attribute in parent._modules and not isinstance(value, nn.Module):
        del parent._modules[attribute]
    setattr(parent, attribute, value)
