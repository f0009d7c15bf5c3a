# SPDX-License-Identifier: MIT
"""What makes two runs the same one: model, objective, data and config; a work folder belongs to one such run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from fastformers.files.digests import sha256_of
from fastformers.modules.model_digest import config_facts, module_digest
from fastformers.tasks import EncodedExamples, length_batches

__all__ = ["differences", "identity_of"]

_NAMES = {
    "model": "the model (its weights or its config)",
    "trained": "the choice of parameters that are trained",
    "objective": "the objective",
    "train": "the training examples",
    "val": "the validation examples",
    "order": "the order of the batches",
}


def identity_of(
    model: nn.Module,
    objective: nn.Module,
    train: EncodedExamples,
    val: EncodedExamples | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns digests of all that decides how a run goes, and its settings, as JSON values."""
    describe = getattr(objective, "describe", None)
    facts = describe() if callable(describe) else {}
    return {
        "model": module_digest(model, config_facts(model)),
        "trained": _digest_of_names(model),
        "objective": module_digest(objective, facts),
        "train": _digest_of_examples(train),
        "val": None if val is None else _digest_of_examples(val),
        "order": _digest_of_order(train, settings),
        "config": dict(settings),
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


def _digest_of_names(model: nn.Module) -> str:
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return sha256_of(json.dumps(names).encode())


def _digest_of_order(train: EncodedExamples, settings: Mapping[str, Any]) -> str:
    """Digest of an epoch's batches: with others a run would not end as it would have without the kill."""
    batches = length_batches(train.lengths, settings["batch_size"], settings["seed"])
    return sha256_of(json.dumps(batches).encode())


def _digest_of_examples(encoded: EncodedExamples) -> str:
    digest = hashlib.sha256()
    for line in _lines_of(encoded):
        digest.update(line.encode())
    return digest.hexdigest()


def _lines_of(encoded: EncodedExamples) -> Iterator[str]:
    yield json.dumps([encoded.task.name, encoded.task.kind, list(encoded.task.labels)])
    yield from (json.dumps(feature, sort_keys=True) for feature in encoded)
