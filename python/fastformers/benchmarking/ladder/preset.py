# SPDX-License-Identifier: MIT
"""Ladders of published shapes: models with random weights on real texts. Speed does not depend on what weights say.

Shapes are data, in ``data/ladders``. No score is ever stated for them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from fastformers._optional import require
from fastformers.benchmarking.demo_models import find_model
from fastformers.benchmarking.ladder.systems import SystemModel, Systems
from fastformers.errors import ConfigError, FormatError
from fastformers.files.digests import sha256_of
from fastformers.files.rows import Row
from fastformers.files.text_rows import table_reader, text_rows
from fastformers.modules.layer_shapes import LayerShape, resize_
from fastformers.recipes.model_folder import OpenedModel
from fastformers.tasks import Example, Task, TaskFile, get_task, load_examples

__all__ = ["PRESETS", "preset_systems", "preset_table", "systems_of_shapes"]

PRESETS = ("table3",)

#: What rows of a .csv or .jsonl file call their first and second text: BoolQ's own names, and those of a user's data.
_PAIRS = (("passage", "question"), ("text", "text_pair"))


def preset_systems(name: str, texts: str | Path, *, seed: int = 0) -> Systems:
    """Makes the models of a preset.

    Args:
        name: one of :data:`PRESETS`.
        texts: folder of the preset's task (its validation set is answered), or a file: one text a line,
            or ``.csv`` or ``.jsonl`` with ``passage`` and ``question`` or ``text`` and ``text_pair``.
        seed: of the random weights.

    Raises:
        ConfigError: no such preset.
        FormatError: the texts are missing or malformed.
        MissingExtraError: the package whose tokenizer is used is not installed.
    """
    return systems_of_shapes(preset_table(name), texts, seed=seed)


def preset_table(name: str) -> dict[str, Any]:
    """Returns the shapes of a preset, as ``data/ladders`` has them.

    Raises:
        ConfigError: no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}; there are: {', '.join(PRESETS)}")
    path = files("fastformers") / "data" / "ladders" / f"{name}.toml"
    table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return table


def systems_of_shapes(table: Mapping[str, Any], texts: str | Path, *, seed: int = 0) -> Systems:
    """Makes models of given shapes; arguments and errors as :func:`preset_systems`.

    Args:
        table: as :func:`preset_table` returns it.
        texts: what is answered.
        seed: of the random weights.
    """
    task = get_task(table["task"])
    transformers = require("transformers", "torch", "the ladder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(find_model(), local_files_only=True)
    task_file = TaskFile(task, table["max_length"])
    models: dict[str, list[SystemModel]] = {"teacher": [], "student": [], "pruned": []}
    for shape in table["model"]:
        models[shape["role"]].append(
            SystemModel(
                name=shape["name"],
                open=partial(_random_model, shape, task_file, tokenizer, seed),
                identity=sha256_of(f"random {sorted(shape.items())} {seed}".encode()),
            )
        )
    return Systems(
        title=f"{table['title']} on {Path(texts).name if Path(texts).is_file() else task.files.folder}",
        teacher=models["teacher"][0],
        students=tuple(models["student"]),
        pruned=tuple(models["pruned"]),
        examples=_examples(task, Path(texts)),
        task=task,
        trained=False,
        paper=tuple(table["paper"]),
    )


def _examples(task: Task, texts: Path) -> tuple[Example, ...]:
    if not texts.is_file():
        return tuple(load_examples(task, texts, "val"))
    rows = (table_reader(texts) or text_rows)(texts)
    examples = tuple(_example(row, number) for number, row in enumerate(rows, start=1))
    if not examples:
        raise FormatError(f"{texts} holds no text: write one a line")
    return examples


def _example(row: Row, number: int) -> Example:
    for first, second in _PAIRS:
        if first in row.values:
            other = None if row.values.get(second) is None else row.text(second)
            return Example(str(number), row.text(first), other)
    raise row.error(f"expected {' or '.join(map(repr, (first for first, _ in _PAIRS)))}")


def _random_model(shape: Mapping[str, Any], task_file: TaskFile, tokenizer: Any, seed: int) -> OpenedModel:
    import torch
    from torch import nn
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape["hidden"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["hidden"] // shape["head_size"],
        intermediate_size=shape["ffn"],
        max_position_embeddings=task_file.max_length,
    )
    config.num_labels = task_file.task.num_labels
    model: nn.Module = BertForSequenceClassification(config)
    own = LayerShape(heads=shape["heads"], head_size=shape["head_size"], intermediate=shape["ffn"])
    resize_(model, [own] * shape["layers"])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, config.initializer_range)
        _reset_vectors(model)
    return OpenedModel(model.eval(), tokenizer, task_file, Path(shape["name"]))


def _reset_vectors(model: Any) -> None:
    """Biases are zero and norms change nothing, as in a model that has just been made."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
