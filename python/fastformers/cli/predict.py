# SPDX-License-Identifier: MIT
"""``fastformers predict``: texts in, the labels that the model in a folder gives them out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastformers.cli.options import ModelFolder, in_a_folder
from fastformers.cli.texts import read_marked_texts, text_file_option
from fastformers.counted import counted
from fastformers.errors import ConfigError
from fastformers.files.replaced_file import replace_file
from fastformers.span_text import SpanText

if TYPE_CHECKING:
    from fastformers.answers import Prediction
    from fastformers.tokenization import Text

__all__ = ["predict", "row_of"]


def predict(
    folder: ModelFolder,
    given: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts to answer.")] = None,
    pair: Annotated[str | None, typer.Option(metavar="TEXT", help="Second text, of one TEXT.")] = None,
    texts: Annotated[Path | None, text_file_option("Texts to answer")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", dir_okay=False, metavar="FILE", callback=in_a_folder, help="Write JSON lines."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of text.")] = False,
) -> None:
    """Answer texts with the classifier in DIR, of any kind: label and probability, or the number it predicts."""
    import fastformers as ff

    asked = _texts(given or [], pair, texts)
    rows = [row_of(*answered) for answered in zip(asked, ff.predict(folder, asked), strict=True)]
    if output is not None:
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        replace_file(output, "".join(f"{line}\n" for line in lines).encode("utf-8"))
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif output is not None:
        typer.echo(f"Answers to {counted(len(rows), 'text')} in {output}")
    else:
        _print(rows)


def _texts(given: Sequence[str], pair: str | None, path: Path | None) -> list[Text]:
    if bool(given) == (path is not None):
        raise ConfigError("give the texts as arguments, or a file of them with --texts FILE")
    if pair is not None and len(given) != 1:
        raise ConfigError(f"--pair is the second text of one TEXT; {len(given)} are given")
    if path is not None:
        return read_marked_texts(path)
    if not all(text.strip() for text in (*given, *(() if pair is None else (pair,)))):
        raise ConfigError("a text is empty: a model needs a text to read")
    return [*given] if pair is None else [(given[0], pair)]


def row_of(text: Text, answer: Prediction) -> dict[str, Any]:
    """A text, in the fields that a file of texts has, and the answer to it."""
    if isinstance(text, str):
        asked: dict[str, Any] = {"text": text}
    elif isinstance(text, SpanText):
        asked = {"text": text.text, "spans": text.spans}
        if text.text_pair is not None:
            asked |= {"text_pair": text.text_pair, "span_texts": text.span_texts}
    else:
        asked = {"text": text[0], "text_pair": text[1]}
    return {**asked, "label": answer.label, "score": answer.score}


def _print(rows: Sequence[dict[str, Any]]) -> None:
    width = max(len(row["label"]) for row in rows)
    for row in rows:
        both = " | ".join(part for part in (row["text"], row.get("text_pair")) if part)
        typer.echo(f"{row['label']:{width}}  {row['score']:7.4f}  {' '.join(both.split())}")
