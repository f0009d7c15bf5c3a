# SPDX-License-Identifier: MIT
"""Refuses what an adapter's tables do not stand for: classes, hooks and options that change what a model computes.

A plan is written from names; nothing runs the model. So every module whose ``forward`` the tables describe must be of
the class they name, or of a subclass that changes nothing but how it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from fastformers.errors import UnsupportedModelError
from fastformers.modules.added_calls import has_own_forward
from fastformers.rewriting.family import Family, Head

__all__ = ["attribute", "check_classes", "check_model", "child", "unsupported"]

_Kind = TypeVar("_Kind")

#: Implementations of the same attention; anything else is a function of somebody's own.
_ATTENTIONS = frozenset(
    {
        None,
        "eager",
        "flash_attention_2",
        "flash_attention_3",
        "flash_attention_4",
        "flex_attention",
        "sdpa",
    }
)
#: Methods that make a module and have no part in what it computes.
_MAKING = frozenset({"__init__", "_init_weights"})
#: transformers' own hooks, which only look.
_RECORDING_HOOKS = "transformers.utils.output_capturing"


def unsupported(problem: str) -> UnsupportedModelError:
    """An error that says what is not covered, and the way out."""
    return UnsupportedModelError(
        f"{problem}. ff.quantize_ speeds up the linear layers of any torch model, this one included"
    )


def child(root: nn.Module, path: str, kind: type[_Kind] | None = None) -> Any:
    """The module at a path below ``root``; the root itself for the empty path.

    Raises:
        UnsupportedModelError: there is none, or it is not exactly of class ``kind``.
    """
    found = attribute(root, path)
    if not isinstance(found, nn.Module):
        raise unsupported(f"{type(root).__name__} has no module {path!r}")
    if kind is not None and type(found) is not kind:
        raise unsupported(
            f"{path} of {type(root).__name__} is {_described(type(found))}, not {kind.__name__}"
        )
    return found


def attribute(root: nn.Module, path: str) -> Any:
    """What is at a path below ``root``, a module or not; None when nothing is, the root for the empty path."""
    found: Any = root
    for name in path.split(".") if path else ():
        found = getattr(found, name, None)
    return found


def check_model(model: nn.Module, encoder: nn.Module, family: Family, head: Head | None) -> None:
    """Checks options, hooks and classes of a whole model, layers included.

    Raises:
        UnsupportedModelError: names the first thing that is not covered.
    """
    _check_options(model, family)
    for name, module in model.named_modules():
        _check_hooks(module, name or type(model).__name__)
        _check_dropout(module, name)
    present = {path: name for path, name in family.classes.items() if _is_there(encoder, path)}
    check_classes(encoder, family.names.package, present)
    for layer in child(encoder, family.names.layers, nn.ModuleList):
        if hasattr(layer, "crossattention"):
            raise unsupported("cross attention is not covered")
        check_classes(layer, family.names.package, family.names.block.classes)
    if head is not None:
        check_classes(model, family.names.package, {"": _stock_name(type(model), family), **head.classes})


def check_classes(root: nn.Module, package: str, classes: Mapping[str, str]) -> None:
    """Checks that modules compute what the classes of transformers compute.

    Args:
        root: where paths begin.
        package: module that defines the classes.
        classes: path -> name of the class.

    Raises:
        UnsupportedModelError: a module of another class, or one with methods of its own.
    """
    for path, name in classes.items():
        module = child(root, path)
        kind = type(module)
        stock = next((k for k in kind.__mro__ if k.__module__ == package and k.__name__ == name), None)
        place = f"{path} of {type(root).__name__}" if path else "the model"
        if stock is None:
            raise unsupported(f"{place} is {_described(kind)}, not {package}.{name}")
        changed = _changed_methods(module, stock)
        if changed:
            raise unsupported(f"{place} is {_described(kind)}, which changes {name}.{changed[0]}")


def _changed_methods(module: nn.Module, stock: type) -> list[str]:
    """Names of methods of the stock class that a subclass, or the object itself, replaces."""
    layers: list[Mapping[str, Any]] = [vars(module)]
    for kind in type(module).__mro__:
        if kind is stock:
            break
        layers.append(vars(kind))
    names = {name for layer in layers for name, value in layer.items() if _is_function(value)}
    return sorted(name for name in names - _MAKING if callable(getattr(stock, name, None)))


def _is_function(value: object) -> bool:
    method = isinstance(value, staticmethod | classmethod | property)
    return method or (callable(value) and not isinstance(value, type))


def _check_options(model: nn.Module, family: Family) -> None:
    config: Any = getattr(model, "config", None)
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        raise unsupported(
            f"{family.names.name} as a decoder (is_decoder, add_cross_attention) is not covered"
        )
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    if positions != "absolute":
        raise unsupported(f"position_embedding_type {positions!r} of {family.names.name} is not covered")
    attention = getattr(config, "_attn_implementation", None)
    if attention not in _ATTENTIONS:
        raise unsupported(f"attention implementation {attention!r} is not one of transformers' own")


def _check_hooks(module: nn.Module, name: str) -> None:
    for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
        if getattr(hook, "__module__", None) != _RECORDING_HOOKS:
            raise unsupported(
                f"{name} has forward hooks, which a compiled encoder would not call: remove them"
            )
    if has_own_forward(module):
        raise unsupported(
            f"{name} has a forward of its own, which a compiled encoder would not call: remove it"
        )


def _check_dropout(module: nn.Module, name: str) -> None:
    """A plan leaves dropout out, so what stands in its place must do nothing."""
    if not name.endswith(("drop", "dropout")):
        return
    if type(module) not in (nn.Dropout, nn.Identity):
        raise unsupported(f"{name} is {_described(type(module))}, where dropout is expected")
    if module.training and isinstance(module, nn.Dropout) and module.p:
        raise unsupported(f"{name} is in training mode: call model.eval() first")


def _is_there(encoder: nn.Module, path: str) -> bool:
    return attribute(encoder, path) is not None


def _stock_name(kind: type, family: Family) -> str:
    return next(k.__name__ for k in kind.__mro__ if k.__module__ == family.names.package)


def _described(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
