# SPDX-License-Identifier: MIT
"""Memory and time of a session whose every batch has other lengths: does ONNX Runtime's arena keep growing?

usage: python -m bench.onnx.varied [--model minilm|mpnet] [--precision int8|float32] [--batches 300]

Batches of 1 to 8 texts of 8 to 256 tokens, the same for both rows, one thread; each row in a process of its own. Memory
is the process's resident set, without that of before the first batch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from transformers import AutoModel

import fastformers as ff
from bench.fidelity.models import model_folder
from bench.memory.run import status_bytes
from bench.onnx.timing import fed, random_batch
from fastformers.export.encoder_graph import write_encoder
from fastformers.export.session import open_session, session_options

#: Name of a row -> whether the session has an arena.
ROWS = {"arena (default)": True, "no arena": False}


def measure(model: str, precision: str, arena: bool, batches: int) -> tuple[list[float], float]:
    """Returns MiB after each batch, and all batches' seconds."""
    loaded = AutoModel.from_pretrained(model_folder(model)).float().eval()
    config = ff.CompileConfig() if precision == "int8" else ff.CompileConfig(int8=None)
    encoder = ff.compile(loaded, config)
    options = session_options(1)
    options.enable_cpu_mem_arena = arena
    graph = write_encoder(encoder.plan, encoder.tensors).model.SerializeToString()
    session, vocabulary = open_session(graph, options), loaded.config.vocab_size
    del loaded, encoder, graph
    draw = np.random.default_rng(1)
    before, memory, seconds = status_bytes("VmRSS"), [], 0.0
    for _ in range(batches):
        inputs = fed(session, *random_batch(draw.integers(8, 257, draw.integers(1, 9)).tolist(), vocabulary))
        begin = time.perf_counter()
        session.run(["last_hidden_state"], inputs)
        seconds += time.perf_counter() - begin
        memory.append((status_bytes("VmRSS") - before) / 2**20)
    return memory, seconds


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=["minilm", "mpnet"], default="minilm")
    parser.add_argument("--precision", choices=["int8", "float32"], default="int8")
    parser.add_argument("--batches", type=int, default=300)
    options = parser.parse_args()
    if model_folder(options.model) is None:
        print("weights are missing: see FASTFORMERS_MPNET", file=sys.stderr)
        return 1
    marks = [max(1, options.batches * part // 6) for part in (1, 2, 4, 6)]
    print(
        f"| | {' | '.join(f'MiB after {mark}' for mark in marks)} | seconds |\n|---|{'---|' * (len(marks) + 1)}"
    )
    for name, arena in ROWS.items():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            wanted = (options.model, options.precision, arena, options.batches)
            memory, seconds = pool.submit(measure, *wanted).result()
        cells = " | ".join(f"{memory[mark - 1]:.0f}" for mark in marks)
        print(f"| {name} | {cells} | {seconds:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
