# SPDX-License-Identifier: MIT
"""``fastformers recipe``: a whole road from a checkpoint to a cheap model as one resumable run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fastformers.cli.options import JsonReport, data_option
from fastformers.cli.reports import print_report
from fastformers.errors import ConfigError

__all__ = ["recipe_app"]

recipe_app = typer.Typer(
    name="recipe",
    help="Run the stages of a recipe, or search for the model that meets a budget.",
    no_args_is_help=True,
)


@recipe_app.command("list")
def list_recipes() -> None:
    """List the recipes that come with the package; `recipe show NAME` prints one to start from."""
    from fastformers.recipes.ready import ready_recipes

    recipes = ready_recipes()
    width = max(map(len, recipes))
    for name, path in recipes.items():
        typer.echo(f"{name:<{width}} {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")


@recipe_app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A ready recipe, or a file.")]) -> None:
    """Print a recipe."""
    from fastformers.recipes.ready import find_recipe

    typer.echo(find_recipe(name).read_text(encoding="utf-8"), nl=False)


@recipe_app.command()
def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A TOML file, or the name of a ready one.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", file_okay=False, help="Folder of results.")
    ],
    data: Annotated[Path | None, data_option("Data instead of the recipe's.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Folder of one of the recipe's models; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run and about how long it takes; run nothing.")
    ] = False,
    max_drop: Annotated[
        float | None, typer.Option(min=0.0, help="Search: points of the task's score that may be lost.")
    ] = None,
    target_speedup: Annotated[
        float | None, typer.Option(min=1.0, help="Search: times as fast as the teacher, one text at a time.")
    ] = None,
    as_json: JsonReport = False,
) -> None:
    """Run a recipe's stages (those that are in OUT already are not run again), then report on all of them.

    With --max-drop or --target-speedup: search over students instead; exit 3 when no student meets the budgets.
    """
    from fastformers._optional import require

    for module in ("torch", "transformers", "accelerate", "matplotlib"):
        require(module, "train", "recipe run")
    from fastformers.recipes import dry_run as planning
    from fastformers.recipes import recipe_run, recipe_search

    models = _folders(model or ())
    searching = max_drop is not None or target_speedup is not None
    if dry_run:
        plan = recipe_run.make_plan(recipe, output, data=data, models=models)
        described = (
            planning.describe_search(plan, target_speedup) if searching else planning.describe_plan(plan)
        )
        print_report(described, None, as_json=as_json)
        return
    if searching:
        found = recipe_search.search(
            recipe,
            output,
            data=data,
            models=models,
            max_drop=max_drop,
            target_speedup=target_speedup,
            progress=not as_json,
        )
        print_report(found, output, as_json=as_json)
        return
    report = recipe_run.recipe(recipe, output, data=data, models=models, progress=not as_json)
    print_report(report, output, as_json=as_json)


def _folders(texts: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, folder in map(_pair, texts):
        if name in found:
            raise ConfigError(
                f"--model {name}=... is there twice, with {found[name]} and {folder}: leave one out"
            )
        found[name] = folder
    return found


def _pair(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not separator or not name or not folder:
        raise ConfigError(f"--model {text!r}: must be NAME=DIR, e.g. small=./minilm")
    return name, Path(folder)
