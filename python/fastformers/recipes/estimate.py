# SPDX-License-Identifier: MIT
"""About how long the stages of a plan will take here: multiplications to do, over a rate measured now.

Good to a factor of two or so, which is what deciding between a coffee and a night takes. Texts are counted by their
characters, so that nothing has to be tokenised.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch

from fastformers.config import TrainConfig
from fastformers.errors import ConfigError
from fastformers.files.strict_json import read_json
from fastformers.modules.config_names import HIDDEN, INTERMEDIATE, LAYERS
from fastformers.recipes.recipe_plan import Plan, PlannedStage
from fastformers.tasks import Example
from fastformers.training.schedule import plan_of

__all__ = ["CONVERTING_SECONDS", "Estimate", "Size", "estimate_plan", "size_of_folder"]

_CHARACTERS_PER_TOKEN = 4.3
_SPECIAL_TOKENS = 2.5
#: Share of a plain matmul's rate that training reaches: softmax, norms, GELU and small batches cost the rest.
_EFFICIENCY = 0.45
#: A backward pass multiplies twice what a forward pass does.
_TRAINING_PASSES = 3.0
#: To quantize or to compile a model, whatever its size.
CONVERTING_SECONDS = 15.0
_RATE_SECONDS = 0.2
_NAMES = {"layers": LAYERS, "hidden": HIDDEN, "intermediate": INTERMEDIATE}


@dataclass(frozen=True)
class Size:
    """What decides an encoder's work.

    Attributes:
        layers: number of them.
        hidden: width.
        attention: channels of all heads of a layer.
        intermediate: width of the feed-forward network.
    """

    layers: int
    hidden: int
    attention: float
    intermediate: float

    @property
    def macs(self) -> float:
        """Multiplications of the linear layers for one token."""
        return self.layers * self.hidden * (4 * self.attention + 2 * self.intermediate)


@dataclass(frozen=True)
class Estimate:
    """Of one stage.

    Attributes:
        seconds: about.
        size: of the model it makes.
    """

    seconds: float
    size: Size


@dataclass(frozen=True)
class _Texts:
    """Tokens of the training and of the validation set, and how many examples the former has."""

    train: float
    val: float
    examples: int


def estimate_plan(plan: Plan) -> dict[str, Estimate]:
    """Estimates each stage of a plan, by name."""
    rate = _matmul_rate() * _EFFICIENCY
    length = plan.recipe.max_length
    given = _Texts(_tokens(plan.train, length), _tokens(plan.val, length), len(plan.train))
    sizes = {name: size_of_folder(path) for name, path in plan.recipe.models.items() if path is not None}
    found: dict[str, Estimate] = {}
    heard: set[str] = set()
    for planned in plan.stages:
        stage = planned.stage
        read = {role: sizes[source] for role, source in stage.inputs.items()}
        size = _made(planned, read)
        texts = _texts(plan, planned, given)
        multiplications = _work(planned, read, size, texts) + size.macs * given.val
        teacher = stage.inputs.get("teacher")
        # A teacher's answers are kept for the students after its first one.
        if teacher is not None and teacher not in heard:
            heard.add(teacher)
            multiplications += read["teacher"].macs * texts.train
        fixed = CONVERTING_SECONDS if stage.kind in ("quantize", "compile") else 0.0
        found[stage.name] = Estimate(multiplications / rate + fixed, size)
        sizes[stage.name] = size
    return found


def _texts(plan: Plan, planned: PlannedStage, given: _Texts) -> _Texts:
    """What a stage trains on: what is given and further texts; a fixed length pads every text to as many tokens."""
    config = planned.stage.options.config
    fixed = getattr(getattr(config, "train", config), "fixed_length", None)
    examples = given.examples + len(planned.further)
    if fixed is not None:
        return _Texts(float(fixed * examples), float(fixed * len(plan.val)), examples)
    return _Texts(given.train + _tokens(planned.further, plan.recipe.max_length), given.val, examples)


def size_of_folder(folder: Path) -> Size:
    """Reads the size of a checkpoint from its ``config.json``.

    Raises:
        ConfigError: the file does not say it.
    """
    config = read_json(folder / "config.json")
    values = {}
    for field, names in _NAMES.items():
        value = next((config[name] for name in names if isinstance(config.get(name), int)), None)
        if value is None:
            raise ConfigError(f"{folder / 'config.json'} has none of {', '.join(names)}: not an encoder's")
        values[field] = value
    return Size(values["layers"], values["hidden"], values["hidden"], values["intermediate"])


def _made(planned: PlannedStage, read: dict[str, Size]) -> Size:
    options: Any = planned.stage.options
    size = read.get("student") or read["model"]
    layers = options.arguments.get("layers")
    if layers is not None:
        size = replace(size, layers=len(layers))
    hidden, ffn = options.arguments.get("hidden"), options.arguments.get("ffn")
    if hidden is not None:
        size = replace(size, hidden=hidden, attention=min(size.attention, hidden))
    if ffn is not None:
        size = replace(size, intermediate=ffn)
    if planned.stage.kind == "prune":
        share = {name: _kept(getattr(options.config, name)) for name in ("heads", "ffn")}
        size = replace(
            size, attention=size.attention * share["heads"], intermediate=size.intermediate * share["ffn"]
        )
    return size


def _kept(asked: float | None) -> float:
    """Share that stays; a count says too little without the model, so all is taken to stay."""
    return asked if isinstance(asked, float) else 1.0


def _work(planned: PlannedStage, read: dict[str, Size], size: Size, texts: _Texts) -> float:
    """Multiplications of a stage but for its teacher's and for scoring its result."""
    kind, config = planned.stage.kind, planned.stage.options.config
    if kind in ("train", "distill"):
        return size.macs * _trained_tokens(config if kind == "train" else config.train, texts)
    if kind == "prune":
        share = min(1.0, int(config.max_examples) / texts.examples)
        return _TRAINING_PASSES * read["model"].macs * texts.train * share
    return 0.0


def _trained_tokens(config: TrainConfig, texts: _Texts) -> float:
    """Tokens of all steps and of the evaluations between them, as so many forward passes."""
    steps = plan_of(config, texts.examples)
    evaluations = ceil(steps.steps / steps.evaluate_every)
    return _TRAINING_PASSES * texts.train * steps.epoch(steps.steps) + texts.val * evaluations


def _tokens(examples: Sequence[Example], most: int) -> float:
    characters = ((len(each.text) + len(each.text_pair or "")) / _CHARACTERS_PER_TOKEN for each in examples)
    return sum(min(most, count + _SPECIAL_TOKENS) for count in characters)


def _matmul_rate() -> float:
    """Multiplications a second of torch's float32 matmul here, with the threads it has."""
    left, right = torch.ones(256, 768), torch.ones(768, 768)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < _RATE_SECONDS:
        torch.mm(left, right)
        done += 1
    return done * 256 * 768 * 768 / (time.perf_counter() - start)
