# SPDX-License-Identifier: MIT
"""Cosine with float32 and time of INT8 graphs, by where activations get equal ranges for all rows.

usage: python -m bench.onnx.ranges --model minilm|mpnet [--texts 60] [--rounds 9] [--json out.json]

Weights and texts as bench.fidelity.run has them: calibration on the package's own texts, comparison on news, passages
and reviews of FASTFORMERS_DATA. Times: one text of 128 tokens, one thread, rounds interleaved.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

import fastformers as ff
from bench.fidelity.models import model_folder
from bench.fidelity.run import compare, outputs
from bench.fidelity.texts import data_folder, read_texts
from bench.onnx.timing import fed, milliseconds, random_batch
from fastformers.export.encoder_graph import write_encoder
from fastformers.export.session import open_session, session_options

MAX_TOKENS = 256
TIMED_TOKENS = 128
#: What the table calls a choice -> ends of the names of the layers with equal rows.
CHOICES = {
    "none: one range for each tensor": (),
    "up": (".up",),
    "query, key, value": (".qkv",),
    "output": (".output",),
    "**down (default)**": (".down",),
    "down and output": (".down", ".output"),
    "down, output and up": (".down", ".output", ".up"),
    "all": (".down", ".output", ".up", ".qkv"),
}


def session_of(encoder: Any, choice: str) -> Any:
    graph = write_encoder(encoder.plan, encoder.tensors, equal_rows=CHOICES[choice]).model
    return open_session(graph.SerializeToString(), session_options(1))


def rows_of(session: Any, tokenizer: Any, texts: list[str]) -> list[torch.Tensor]:
    """Last hidden state of each text, float64 [tokens, hidden]."""
    found = []
    for text in texts:
        encoded = tokenizer(text, return_tensors="np", truncation=True, max_length=MAX_TOKENS)
        (rows,) = session.run(["last_hidden_state"], fed(session, encoded["input_ids"]))
        found.append(torch.from_numpy(rows[0]).double())
    return found


def markdown(rows: dict[str, Any]) -> str:
    """The table of docs/onnx.md."""
    lines = [
        "| equal rows at | cosine: mean / worst text | worst token | ms, 128 tokens, 1 thread |",
        "|---|---|---|---|",
    ]
    for choice, row in rows.items():
        cosines = f"{row['mean']:.5f} / {row['worst_text']:.5f} | {row['worst_token']:.4f}"
        time = row["ms"]
        lines.append(
            f"| {choice} | {cosines} | {time['median']:.2f} ({time['low']:.2f} to {time['high']:.2f}) |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=["minilm", "mpnet"], required=True)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    folder, data = model_folder(options.model), data_folder()
    if folder is None or data is None:
        print("weights or texts are missing: see FASTFORMERS_MPNET and FASTFORMERS_DATA", file=sys.stderr)
        return 1
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).float().eval()
    texts = read_texts(data, options.texts)
    kinds, plain = [kind for kind, _ in texts], [text for _, text in texts]
    reference = outputs(model, tokenizer, plain)
    encoder = ff.compile(model, tokenizer=tokenizer)
    sessions = {choice: session_of(encoder, choice) for choice in CHOICES}
    times = milliseconds(sessions, *random_batch([TIMED_TOKENS], encoder.plan.vocab), options.rounds)
    rows = {
        choice: compare(reference, rows_of(session, tokenizer, plain), kinds) | {"ms": asdict(times[choice])}
        for choice, session in sessions.items()
    }
    if options.json is not None:
        content = {"model": options.model, "texts": len(texts), "rounds": options.rounds, "rows": rows}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
