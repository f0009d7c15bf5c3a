# SPDX-License-Identifier: MIT
"""Time of exported graphs that compute padding in all operators, against those that compute it in attention only.

usage: python -m bench.onnx.padding [--model minilm|mpnet] [--threads 2] [--rounds 9] [--json out.json]

MiniLM's or MPNet's real weights; ONNX Runtime's own dynamic INT8 of the float32 graph beside them. Milliseconds for the
last hidden state of all tokens; rounds interleaved.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoModel, AutoTokenizer

import fastformers as ff
from bench.fidelity.models import model_folder
from bench.onnx.timing import milliseconds, random_batch
from fastformers.export.encoder_graph import write_encoder
from fastformers.export.session import open_session, session_options
from fastformers.measuring import Spread

#: Tokens of each text of a batch.
SHAPES = {
    "1 x 16": [16],
    "1 x 64": [64],
    "1 x 128": [128],
    "8 x 128": [128] * 8,
    "8 mixed": [16, 24, 32, 40, 56, 72, 96, 128],
}


def sessions_of(model: Any, tokenizer: Any, threads: int) -> dict[str, Any]:
    """Name of a row -> session."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    encoders = {
        "float32": ff.compile(model, ff.CompileConfig(int8=None), tokenizer=tokenizer),
        "INT8": ff.compile(model, tokenizer=tokenizer),
    }
    graphs = {
        f"{name}, {what}": write_encoder(encoder.plan, encoder.tensors, skip_padding=skips).model
        for name, encoder in encoders.items()
        for what, skips in (("padding computed", False), ("padding left out", True))
    }
    options = session_options(threads)
    found = {name: open_session(graph.SerializeToString(), options) for name, graph in graphs.items()}
    with TemporaryDirectory() as folder:
        plain, quantized = Path(folder) / "plain.onnx", Path(folder) / "quantized.onnx"
        plain.write_bytes(graphs["float32, padding computed"].SerializeToString())
        quantize_dynamic(
            plain,
            quantized,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": 1},
        )
        found["ONNX Runtime's own INT8 of the float32 graph"] = open_session(quantized, options)
    return found


def markdown(rows: dict[str, dict[str, Spread]]) -> str:
    lines = [f"| | {' | '.join(SHAPES)} |", f"|---|{'---|' * len(SHAPES)}"]
    for name, row in rows.items():
        cells = (
            f"{row[shape].median:.2f} ({row[shape].low:.2f} to {row[shape].high:.2f})" for shape in SHAPES
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=["minilm", "mpnet"], default="minilm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    folder = model_folder(options.model)
    if folder is None:
        print("weights are missing: see FASTFORMERS_MPNET", file=sys.stderr)
        return 1
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).float().eval()
    sessions = sessions_of(model, tokenizer, options.threads)
    by_shape = {
        shape: milliseconds(sessions, *random_batch(lengths, model.config.vocab_size), options.rounds)
        for shape, lengths in SHAPES.items()
    }
    rows = {name: {shape: found[name] for shape, found in by_shape.items()} for name in sessions}
    if options.json is not None:
        content = {name: {shape: asdict(cell) for shape, cell in row.items()} for name, row in rows.items()}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
