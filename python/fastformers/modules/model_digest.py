# SPDX-License-Identifier: MIT
"""A digest of what a model computes: its modules, the facts that decide it, and its state, name by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["bytes_of", "config_facts", "module_digest"]

#: Facts of a transformers config that say nothing about what the model computes.
_NO_FACTS = frozenset({"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"})

#: Attributes of modules likewise: where a model came from, and what a training or a forward pass changes.
_NO_ATTRIBUTES = frozenset({"training", "name_or_path", "gradient_checkpointing", "max_seq_len_cached"})


def module_digest(module: nn.Module, facts: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a module, of facts about it, and of its parameters and buffers, in hexadecimal.

    Of every module in it the class counts, and its public numbers, texts and truth values, such as a norm's epsilon:
    they decide the answers and need not be what the config says; so does what INT8 layers do before and after their
    product. It is the same in every process, and for a model that was saved and loaded.

    Args:
        module: anything with a state.
        facts: what else decides what it computes, as JSON values or things with a text.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, part in module.named_modules():
        kind = f"{type(part).__module__}.{type(part).__qualname__}"
        digest.update(f"\n{name} {kind} {json.dumps(_attributes(part), sort_keys=True)}".encode())
    for name, value in module.state_dict().items():
        is_tensor = isinstance(value, Tensor)
        shape = f"{value.dtype} {list(value.shape)}" if is_tensor else type(value).__name__
        digest.update(f"\n{name} {shape}\n".encode())
        digest.update(bytes_of(value) if is_tensor else repr(value).encode())
    return digest.hexdigest()


def _attributes(module: nn.Module) -> dict[str, int | float | str]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, int | float | str) and not name.startswith("_") and name not in _NO_ATTRIBUTES
    }


def config_facts(model: nn.Module) -> dict[str, Any]:
    """Returns what a model's transformers config says of what it computes; nothing of a model without one."""
    config: Any = getattr(model, "config", None)
    facts = config.to_dict() if hasattr(config, "to_dict") else {}
    return {name: value for name, value in facts.items() if name not in _NO_FACTS}


def bytes_of(tensor: Tensor) -> memoryview:
    """Returns a tensor's content as it lies in memory."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
