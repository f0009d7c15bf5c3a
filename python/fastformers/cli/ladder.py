# SPDX-License-Identifier: MIT
"""``fastformers ladder``: what each technique adds, step by step, on your models or on the paper's shapes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fastformers.cli.options import EnergyMethod, JsonTable, PriceOfMachine, Utilisation, data_or_file
from fastformers.errors import ConfigError

__all__ = ["ladder"]


def ladder(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", file_okay=False, help="Folder of results.")
    ],
    recipe: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Output folder of `recipe run`; of several tasks' recipes, all in one table.",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, metavar="DIR", help="Instead: the uncompressed model."),
    ] = None,
    student: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, metavar="DIR", help="A smaller model; repeatable."),
    ] = None,
    pruned: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, metavar="DIR", help="A pruned student; repeatable."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Instead: table3, the paper's shapes with random weights."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "--texts",
            metavar="DIR|FILE|hub",
            callback=data_or_file,
            help="The task's data; of a preset also a text file, one text a line.",
        ),
    ] = None,
    baseline_sample: Annotated[
        int | None,
        typer.Option(metavar="N", help="Time the uncompressed model on a random sample of N texts only."),
    ] = None,
    most_texts: Annotated[
        int | None, typer.Option(metavar="N", help="Measure, and score, on an even sample of N texts.")
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"],
        typer.Option(help="cuda: the rows of a GPU instead, in large batches up to pruned in half."),
    ] = "cpu",
    batch_size: Annotated[int | None, typer.Option(help="Texts of a request; else 1, on a GPU 256.")] = None,
    padded_length: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Tokens that the first row fills texts up to; else what the task cuts them at."
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a call; else one a core.")] = None,
    instances: Annotated[int | None, typer.Option(help="Instances under load; else one a core.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of all rows, at least 3.")] = 5,
    comparisons: Annotated[
        bool,
        typer.Option(
            "--comparisons",
            help="Also rows beside the ladder: INT8 layers in PyTorch, per tensor, all rows, processes.",
        ),
    ] = False,
    price: PriceOfMachine = None,
    utilisation: Utilisation = 1.0,
    energy: EnergyMethod = "auto",
    table_of_instances: Annotated[
        bool,
        typer.Option(
            "--instances-table",
            help="Instead: every split of the cores into instances, as threads and as processes.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Throw readings of another ladder in OUT away; of --instances-table, the table.",
        ),
    ] = False,
    as_json: JsonTable = False,
) -> None:
    """Measure PyTorch, dynamic length, distilled, INT8 engine (GPU: half), instances and pruned beside each other."""
    from rich.console import Console

    from fastformers.benchmarking.ladder import instances as instances_module
    from fastformers.benchmarking.ladder.run import climb, systems_of
    from fastformers.benchmarking.ladder.settings import LadderSettings
    from fastformers.benchmarking.ladder.table import show
    from fastformers.benchmarking.ladder.tasks_table import climb_tasks, show_tasks

    settings = LadderSettings(
        rounds=rounds,
        threads=threads,
        instances=instances,
        device=device,
        batch_size=batch_size,
        padded_length=padded_length,
        baseline_sample=baseline_sample,
        most_texts=most_texts,
        comparisons=comparisons,
        price=price,
        utilisation=utilisation,
        energy=energy,
    )
    if recipe and len(recipe) > 1:
        others: dict[str, object] = {
            "teacher": teacher,
            "student": student,
            "pruned": pruned,
            "preset": preset,
            "instances-table": table_of_instances,
        }
        given = next((name for name, value in others.items() if value), None)
        if given is not None:
            raise ConfigError(
                f"--{given} does not go with several recipes: give one --recipe, or leave it out"
            )
        if data is None:
            raise ConfigError("a ladder needs data to answer: the folder that holds all tasks' data")
        with _told_how_to_go_on():
            side_by_side = climb_tasks(recipe, data, output, settings, overwrite=overwrite, tell=_tell)
        _print(side_by_side.to_dict(), as_json, lambda: show_tasks(Console(), side_by_side))
        return
    if table_of_instances and device != "cpu":
        raise ConfigError("--instances-table splits the cores of a CPU: leave --device out")
    unread: dict[str, object] = {
        "instances": instances,
        "threads": threads,
        "batch-size": batch_size,
        "padded-length": padded_length,
        "baseline-sample": baseline_sample,
        "comparisons": comparisons,
    }
    without = next((name for name, value in unread.items() if value), None)
    if table_of_instances and without is not None:
        raise ConfigError(f"--{without} is for a ladder; --instances-table tries every split with one text")
    systems = systems_of(
        recipe=recipe[0] if recipe else None,
        teacher=teacher,
        students=student or (),
        pruned=pruned or (),
        preset=preset,
        data=data,
    )
    if table_of_instances:
        with _told_how_to_go_on():
            found = instances_module.instances_table(
                systems, output, settings, overwrite=overwrite, tell=_tell
            )
        _print(found.to_dict(), as_json, lambda: instances_module.show_instances(Console(), found))
        return
    with _told_how_to_go_on():
        report = climb(systems, output, settings, overwrite=overwrite, tell=_tell)
    _print(report.to_dict(), as_json, lambda: show(Console(), report))


@contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _tell("interrupted: the same command goes on after the last whole round")
        raise


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _print(content: dict[str, Any], as_json: bool, show: Callable[[], None]) -> None:
    if as_json:
        typer.echo(json.dumps(content, indent=2))
    else:
        show()
