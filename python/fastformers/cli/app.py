# SPDX-License-Identifier: MIT
"""Puts the verbs together and turns our own errors into one line and an exit status instead of a traceback.

Nothing heavy is imported here or at the top of a verb's module: ``fastformers --help`` answers without torch.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fastformers import __version__
from fastformers.cli.bench import bench
from fastformers.cli.compile import compile_model
from fastformers.cli.cost import cost
from fastformers.cli.demo import demo
from fastformers.cli.distill import distill
from fastformers.cli.doctor import doctor
from fastformers.cli.evaluate import evaluate
from fastformers.cli.exit_codes import ExitCode, exit_code_of
from fastformers.cli.explain import explain
from fastformers.cli.export import export
from fastformers.cli.ladder import ladder
from fastformers.cli.measure import measure
from fastformers.cli.plot import plot
from fastformers.cli.predict import predict
from fastformers.cli.prune import prune
from fastformers.cli.quantize import quantize
from fastformers.cli.recipe import recipe_app
from fastformers.cli.train import train
from fastformers.cli.tune import tune
from fastformers.cli.verify import verify
from fastformers.errors import FastformersError

__all__ = ["app", "main"]

_SHOW_AS_PYTHON = warnings.showwarning

app = typer.Typer(
    name="fastformers",
    help="Transformer encoders several times cheaper to serve on CPUs, with the same answers.",
    epilog="Exit status: 0 ok, 1 failed, 2 wrong usage, 3 gate missed, 4 bad file, 5 extra missing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(doctor)
app.command()(demo)
app.command()(explain)
app.command()(prune)
app.command()(train)
app.command()(evaluate)
app.command()(predict)
app.command()(distill)
app.command()(quantize)
app.command("compile")(compile_model)
app.command()(export)
app.add_typer(recipe_app, name="recipe")
app.command()(verify)
app.command()(bench)
app.command()(tune)
app.command()(measure)
app.command()(ladder)
app.command()(cost)
app.command()(plot)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Holds the options that come before the verb."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits the process.

    Args:
        arguments: words after the program's name; those of the process when ``None``.

    Raises:
        SystemExit: always, with one of :class:`fastformers.cli.exit_codes.ExitCode`.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            app(args=arguments if arguments is None else list(arguments), prog_name="fastformers")
    except FastformersError as error:
        typer.secho(f"fastformers: {error}", err=True, fg=typer.colors.RED)
        sys.exit(exit_code_of(error))
    except OSError as error:  # a full disk, a folder that nobody may write to
        place = "" if error.filename is None else f"{error.filename}: "
        typer.secho(f"fastformers: {place}{error.strerror or error}", err=True, fg=typer.colors.RED)
        sys.exit(ExitCode.FAILED)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **rest: Any) -> None:
    """Ours as one line for people, without the place in the code; others as Python shows them."""
    if category.__module__.partition(".")[0] == "fastformers":
        typer.secho(f"fastformers: {message}", err=True, fg=typer.colors.YELLOW)
    else:
        _SHOW_AS_PYTHON(message, category, *place, **rest)
