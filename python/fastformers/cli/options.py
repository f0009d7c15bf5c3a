# SPDX-License-Identifier: MIT
"""Arguments and options that several verbs have, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from fastformers.config import Device, Pooling, Precision, Rounding
from fastformers.errors import ConfigError

__all__ = [
    "Accumulation",
    "BatchSize",
    "CompiledFolder",
    "EmbeddingPooling",
    "EnergyMethod",
    "Epochs",
    "EvaluateEvery",
    "FixedLength",
    "JsonReport",
    "JsonTable",
    "JsonText",
    "LearningRate",
    "MaxGradNorm",
    "MaxSteps",
    "ModelFolder",
    "Normalize",
    "OutputFolder",
    "Overwrite",
    "Patience",
    "PriceOfMachine",
    "RoundingOfWeights",
    "SaveJson",
    "TrainingDevice",
    "TrainingPrecision",
    "Utilisation",
    "Warmup",
    "WeightDecay",
    "data_option",
    "data_or_file",
    "in_a_folder",
]


def in_a_folder(path: Path | None) -> Path | None:
    """Refuses a file without a folder before anything is measured, and not when that is to be saved."""
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(f"{path.absolute().parent} is not a folder: make it first")
    return path


def _data_folder(path: Path | None) -> Path | None:
    """Refuses what is no data before a model is loaded."""
    if path is not None and path.is_file():
        raise typer.BadParameter(f"{path} is a file: give the folder that holds it")
    return data_or_file(path)


def data_or_file(path: Path | None) -> Path | None:
    """The same where a file will do."""
    if path is not None and not path.exists():
        from fastformers.tasks.hub import is_hub

        if not is_hub(path):
            raise typer.BadParameter(f"{path} does not exist; 'hub' reads the official data with `datasets`")
    return path


def data_option(explanation: str) -> Any:
    """The option ``--data`` of a verb, which says in its own words what the data is for."""
    return typer.Option(metavar="DIR|hub", callback=_data_folder, help=explanation)


ModelFolder: TypeAlias = Annotated[
    Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Folder of a model.")
]
CompiledFolder: TypeAlias = Annotated[
    Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Folder of a compiled model.")
]
OutputFolder: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUT", file_okay=False, help="Folder to write.")
]
Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace a model saved in OUT.")]
JsonReport: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")]
JsonText: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
JsonTable: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of a table.")
]
RoundingOfWeights: TypeAlias = Annotated[
    Rounding, typer.Option(help="compensated is closer to float32, and slower to convert.")
]
EmbeddingPooling: TypeAlias = Annotated[
    Pooling | None, typer.Option(help="Of a base encoder: put out one sentence embedding.")
]
Normalize: TypeAlias = Annotated[bool, typer.Option("--normalize", help="Embeddings of length 1.")]

# Of training, with and without a teacher.
Epochs: TypeAlias = Annotated[float, typer.Option(help="Passes over the training set.")]
LearningRate: TypeAlias = Annotated[float, typer.Option("--lr", help="Highest learning rate.")]
BatchSize: TypeAlias = Annotated[int, typer.Option(help="Examples of a batch.")]
FixedLength: TypeAlias = Annotated[
    int | None, typer.Option(metavar="L", help="Pad all batches to L tokens, the paper's baseline.")
]
Patience: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", help="Stop after N evaluations without a better score.")
]
MaxSteps: TypeAlias = Annotated[int | None, typer.Option(help="Stop after so many steps instead.")]
Accumulation: TypeAlias = Annotated[int, typer.Option(help="Batches of a step.")]
WeightDecay: TypeAlias = Annotated[float, typer.Option(help="Of matrices.")]
Warmup: TypeAlias = Annotated[float, typer.Option(help="Share of the steps.")]
MaxGradNorm: TypeAlias = Annotated[float, typer.Option(help="Longer gradients are shortened to it; 0: none.")]
EvaluateEvery: TypeAlias = Annotated[
    int | None, typer.Option(metavar="STEPS", help="Default: after each epoch.")
]
TrainingDevice: TypeAlias = Annotated[Device, typer.Option(help="auto: a GPU where there is one.")]
TrainingPrecision: TypeAlias = Annotated[
    Precision, typer.Option(help="Of products; auto: bfloat16 on a GPU, float32 on a CPU.")
]

PriceOfMachine: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME|USD", help="Of the machine (`cost --list`), or US dollars an hour."),
]
Utilisation: TypeAlias = Annotated[float, typer.Option(help="Share of the paid time that is used.")]
EnergyMethod: TypeAlias = Annotated[
    str, typer.Option(metavar="METHOD", help="auto, rapl, nvml, estimate:tdp or off.")
]
SaveJson: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--save", dir_okay=False, metavar="FILE", callback=in_a_folder, help="Save the numbers as JSON."
    ),
]
