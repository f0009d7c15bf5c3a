# SPDX-License-Identifier: MIT
"""``fastformers bench``: a user's own models on every engine, equal threads, interleaved, fidelity beside speed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from fastformers._optional import require
from fastformers.cli.options import SaveJson
from fastformers.cli.texts import read_texts, text_file_option

__all__ = ["bench"]


def bench(
    model_folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", exists=True, file_okay=False, help="Folders of models or artefacts."
        ),
    ],
    engines: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Families or single engines, separated by commas."),
    ] = "torch,onnxruntime,openvino,ctranslate2,fastformers",
    threads: Annotated[int | None, typer.Option(min=1, help="Of every engine. Default: all cores.")] = None,
    lengths: Annotated[str, typer.Option(metavar="N,...", help="Tokens of the single texts.")] = "16,64,128",
    together: Annotated[int, typer.Option(min=0, help="Texts of the batch of mixed lengths; 0: none.")] = 8,
    texts: Annotated[Path | None, text_file_option("Texts to take (default: bundled ones)")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds.")] = 5,
    json_path: SaveJson = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Time the models in DIR... on every engine, and say how well their answers agree with torch float32."""
    require("torch", "torch", "bench")
    require("transformers", "torch", "bench")
    from rich.console import Console

    from fastformers import kernels
    from fastformers.benchmarking.comparison import ComparisonSettings
    from fastformers.benchmarking.comparison_table import show_comparison
    from fastformers.benchmarking.engine_comparison import compare_engines
    from fastformers.quantization.inputs import bundled_texts

    settings = ComparisonSettings(
        engines=tuple(name.strip() for name in engines.split(",")),
        threads=threads or kernels.default_threads(),
        lengths=_whole_numbers(lengths),
        together=together,
        rounds=rounds,
    )
    examples = bundled_texts() if texts is None else [*running_text(read_texts(texts))]
    with Console(stderr=True).status("starting") as status:
        comparison = compare_engines(model_folders, settings, examples, status.update)
    document = json.dumps(comparison.to_dict(), indent=2)
    if as_json:
        typer.echo(document)
    else:
        show_comparison(Console(), comparison)
    if json_path is not None:
        json_path.write_text(document + "\n", encoding="utf-8")


def running_text(texts: Iterable[str | tuple[str, str]]) -> Iterator[str]:
    """Both texts of a pair one after the other: batches are cut to lengths out of running text."""
    for text in texts:
        yield from (text,) if isinstance(text, str) else text


def _whole_numbers(words: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in words.split(",") if word.strip())
    except ValueError:
        raise typer.BadParameter(
            f"{words!r}: expected numbers such as 16,64,128", param_hint="--lengths"
        ) from None
    if any(number < 3 for number in numbers):
        raise typer.BadParameter(f"{words!r}: a text has at least 3 tokens", param_hint="--lengths")
    return numbers
