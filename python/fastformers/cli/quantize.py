# SPDX-License-Identifier: MIT
"""``fastformers quantize``: a model folder in, an INT8 model folder and its report out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastformers._optional import require
from fastformers.cli.texts import read_texts
from fastformers.config import Rounding
from fastformers.errors import FormatError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["quantize"]


def quantize(
    model_folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Folder of a model."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", file_okay=False, help="Folder to write.")
    ],
    texts: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help='Texts like yours: one a line, or .jsonl with "text". Default: a bundled set.',
        ),
    ] = None,
    rounding: Annotated[
        Rounding, typer.Option(help="compensated is closer to float32, and slower to convert.")
    ] = "nearest",
    max_disagreement: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of answers that may change; more is exit 3."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Module to keep float; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Quantize the linear layers of the model in DIR to INT8 and save the result in OUT."""
    require("torch", "torch", "quantize")
    require("transformers", "torch", "quantize")
    import fastformers as ff

    config = ff.Int8Config(rounding=rounding, max_disagreement=max_disagreement, exclude=tuple(exclude or ()))
    examples = None if texts is None else read_texts(texts)
    model, tokenizer = _load(model_folder)
    report = ff.quantize_(model, config, tokenizer=tokenizer, texts=examples)
    ff.save_pretrained(model, output, tokenizer=tokenizer)
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else f"{report}\nSaved in {output}")


def _load(folder: Path) -> tuple[PreTrainedModel, Any]:
    """Loads model and tokenizer from a local folder; the class is the one that the folder's config names."""
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        names = getattr(config, "architectures", None) or ["AutoModel"]
        model_class = getattr(transformers, names[0], transformers.AutoModel)
        model = model_class.from_pretrained(folder, local_files_only=True).eval()
        return model, transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise FormatError(f"{folder} does not hold a model that transformers can load: {error}") from error
