# SPDX-License-Identifier: MIT
"""What makes two runs the same one: model, objective, data and config; a work folder belongs to one such run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.config import TrainConfig
from fastformers.files.digests import sha256_of
from fastformers.tasks import EncodedExamples

__all__ = ["differences", "identity_of"]

#: Facts of a transformers config that say nothing about what the model computes.
_NO_FACTS = frozenset({"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"})
_NAMES = {
    "model": "the model (its weights or its config)",
    "objective": "the objective",
    "train": "the training examples",
    "val": "the validation examples",
}


def identity_of(
    model: nn.Module,
    objective: nn.Module,
    train: EncodedExamples,
    val: EncodedExamples | None,
    config: TrainConfig,
) -> dict[str, Any]:
    """Returns digests of all that decides how a run goes, and the config, as JSON values."""
    describe = getattr(objective, "describe", None)
    facts = describe() if callable(describe) else {}
    return {
        "model": _digest_of_module(model, _facts_of(model)),
        "objective": _digest_of_module(objective, facts),
        "train": _digest_of_examples(train),
        "val": None if val is None else _digest_of_examples(val),
        "config": config.to_dict(),
    }


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Says what is not the same in two identities; nothing where they are equal."""
    found = [f"{name} is another one" for key, name in _NAMES.items() if earlier.get(key) != now[key]]
    old = earlier.get("config")
    settings = old if isinstance(old, Mapping) else {}
    return found + [
        f"{name} is {value!r}, was {settings.get(name)!r}"
        for name, value in now["config"].items()
        if settings.get(name) != value
    ]


def _facts_of(model: nn.Module) -> dict[str, Any]:
    config: Any = getattr(model, "config", None)
    facts = config.to_dict() if hasattr(config, "to_dict") else {}
    return {name: value for name, value in facts.items() if name not in _NO_FACTS}


def _digest_of_module(module: nn.Module, facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(f"{type(module).__module__}.{type(module).__qualname__}".encode())
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)} {sha256_of(_bytes_of(tensor))}".encode())
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _digest_of_examples(encoded: EncodedExamples) -> str:
    digest = hashlib.sha256()
    for line in _lines_of(encoded):
        digest.update(line.encode())
    return digest.hexdigest()


def _lines_of(encoded: EncodedExamples) -> Iterator[str]:
    yield json.dumps([encoded.task.name, encoded.task.kind, list(encoded.task.labels)])
    yield from (json.dumps(feature, sort_keys=True) for feature in encoded)
