# SPDX-License-Identifier: MIT
"""The parts of a whole run: what each runs, how long it may take, what it needs and what its result is.

The times add up to less than the 40 minutes that ``make bench`` may take on two cores (a test adds them); a GPU, where
there is one, gets some more. Sizes are chosen for that: the long forms of these benchmarks are in the README beside
each. A quick run takes some minutes; its limits are there for machines that do other work besides.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["MOST_MINUTES", "PARTS", "QUICK_MINUTES", "Part"]

MOST_MINUTES, QUICK_MINUTES = 40.0, 35.0

Collect = Callable[[Path], Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One benchmark of a whole run.

    Attributes:
        name: in files, options and markers.
        about: what it measures, in a line.
        minutes: after which it is stopped.
        command: words after the interpreter. ``{out}`` is the part's own folder below ``{work}``;
            ``{threads}`` the thread counts; ``{data}`` the folder of FASTFORMERS_DATA.
        quick_minutes: the same of a quick run.
        quick: its command; empty leaves the part out of quick runs.
        needs: names of :data:`bench.whole.needs.NEEDS`.
        collect: makes the result from the part's folder.
        done: exit statuses that say it was measured; 3 is a figure that was missed.
    """

    name: str
    about: str
    minutes: float
    command: str
    quick_minutes: float
    quick: str
    needs: tuple[str, ...]
    collect: Collect
    done: tuple[int, ...] = (0,)


def _json(name: str) -> Collect:
    return lambda folder: json.loads((folder / name).read_text(encoding="utf-8"))


def _ladder(folder: Path) -> Any:
    return {**_json("ladder.json")(folder), "markdown": _text(folder / "ladder.md")}


def _instances(folder: Path) -> Any:
    return {**_json("instances.json")(folder), "markdown": _text(folder / "instances.md")}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _kernel_calls(folder: Path) -> Any:
    """Of pytest-benchmark's file: each test's name, median and quartiles in seconds, and what it noted."""
    found = _json("calls.json")(folder)
    return [
        {
            "name": each["name"],
            "group": each["group"],
            "seconds": {name: each["stats"][name] for name in ("median", "q1", "q3", "rounds")},
            "extra": each["extra_info"],
        }
        for each in found["benchmarks"]
    ]


PARTS: tuple[Part, ...] = (
    Part(
        name="demo",
        about="the ladder of README.md: one classifier, trained, distilled, compiled and pruned",
        minutes=9,
        command="-m fastformers demo --folder {out}/models --json {out}/demo.json --picture {out}/demo.png",
        quick_minutes=6,
        quick="-m bench.demo.quick --folder {out}/models --json {out}/demo.json --picture {out}/demo.png",
        needs=("torch", "transformers", "accelerate", "matplotlib", "minilm"),
        collect=_json("demo.json"),
    ),
    Part(
        name="ladder",
        about="the shapes of the paper's Table 3 on BoolQ's texts, step by step",
        minutes=5,
        command="-m fastformers ladder --preset table3 --data {data}/superglue --baseline-sample 24 --most-texts 200 "
        "--rounds 4 --comparisons --price azure:F16s_v2 --overwrite -o {out}/ladder",
        quick_minutes=4,
        quick="-m fastformers ladder --preset table3 --data {data}/superglue --baseline-sample 8 --most-texts 12 "
        "--rounds 3 --price azure:F16s_v2 --energy off --overwrite -o {out}/ladder",
        needs=("torch", "transformers", "matplotlib", "minilm", "boolq"),
        collect=lambda folder: _ladder(folder / "ladder"),
    ),
    Part(
        name="instances",
        about="the paper's Table 2: every split of the cores into instances, as threads and as processes",
        minutes=2,
        command="-m fastformers ladder --preset table3 --data {data}/superglue --most-texts 24 --rounds 3 "
        "--instances-table --overwrite -o {work}/ladder/ladder",
        quick_minutes=3,
        quick="-m fastformers ladder --preset table3 --data {data}/superglue --most-texts 6 --rounds 3 "
        "--instances-table --overwrite -o {work}/ladder/ladder",
        needs=("torch", "transformers", "minilm", "boolq"),
        collect=lambda folder: _instances(folder.parent / "ladder" / "ladder"),
    ),
    Part(
        name="encoder",
        about="whole encoders against the engines a user would pick (some shapes of bench/workloads/encoder)",
        minutes=8,
        command="-m bench.workloads.encoder.run --threads {threads} --models minilm tinybert-pruned bert-base "
        "--batches b1s32 b1s128 b8mix --rows first --contestants fastformers torch_fp32 onnxruntime_int8_fused "
        "openvino_int8_calibrated ctranslate2_int8 --rounds 3 --block-ms 50 --workspace {out}/models --resume "
        "--json {out}/encoder.json",
        quick_minutes=3,
        quick="-m bench.workloads.encoder.run --threads 1 --models tinybert-pruned --batches b1s32 --rows first "
        "--contestants fastformers torch_fp32 --rounds 3 --block-ms 10 --workspace {out}/models --resume "
        "--json {out}/encoder.json",
        needs=("torch", "transformers"),
        collect=_json("encoder.json"),
    ),
    Part(
        name="kernels",
        about="INT8 linear layers against other libraries",
        minutes=6,
        command="-m bench.kernels.run --threads {threads} --rounds 3 --block-ms 10 --resume --json {out}/kernels.json",
        quick_minutes=2,
        quick="-m bench.kernels.run --threads 1 --groups pruned --rows 1 64 --contestants fastformers torch_fp32 "
        "--rounds 3 --block-ms 2 --resume --json {out}/kernels.json",
        needs=("torch",),
        collect=_json("kernels.json"),
    ),
    Part(
        name="kernel-calls",
        about="what calling a kernel costs besides the kernel",
        minutes=0.5,
        command="-m pytest bench/kernels/test_overhead.py --benchmark-only --benchmark-json={out}/calls.json -q "
        "-p no:cacheprovider",
        quick_minutes=1,
        quick="-m pytest bench/kernels/test_overhead.py --benchmark-only --benchmark-json={out}/calls.json -q "
        "-p no:cacheprovider --benchmark-max-time=0.05 --benchmark-min-rounds=3",
        needs=("torch", "pytest-benchmark"),
        collect=_kernel_calls,
    ),
    Part(
        name="profile",
        about="where the time goes inside the engine: each layer and operation of MiniLM",
        minutes=0.8,
        command="-m bench.profile.run --json {out}/profile.json",
        quick_minutes=3,
        quick="-m bench.profile.run --seconds 0.3 --json {out}/profile.json",
        needs=("torch", "transformers", "minilm"),
        collect=_json("profile.json"),
    ),
    Part(
        name="fidelity-minilm",
        about="cosine of MiniLM's INT8 outputs with float32, real weights and texts",
        minutes=2,
        command="-m bench.fidelity.run --model minilm --texts 60 --schemes (default) same --json "
        "{out}/fidelity.json --resume",
        quick_minutes=3,
        quick="-m bench.fidelity.run --model minilm --texts 3 --schemes (default) --json {out}/fidelity.json --resume",
        needs=("torch", "transformers", "minilm", "texts"),
        collect=_json("fidelity.json"),
    ),
    Part(
        name="fidelity-mpnet",
        about="the same of MPNet, whose activations are harder to quantize",
        minutes=2,
        command="-m bench.fidelity.run --model mpnet --texts 15 --schemes 'compiled (default)' "
        "--json {out}/fidelity.json --resume",
        quick_minutes=0,
        quick="",
        needs=("torch", "transformers", "mpnet", "texts"),
        collect=_json("fidelity.json"),
    ),
    Part(
        name="memory",
        about="what quantize_ leaves in memory and takes on the way",
        minutes=2,
        command="-m bench.memory.run --models minilm --settings default gate --json {out}/memory.json",
        quick_minutes=4,
        quick="-m bench.memory.run --models minilm --settings default --json {out}/memory.json",
        needs=("torch", "transformers", "minilm"),
        collect=_json("memory.json"),
        done=(0, 3),
    ),
    Part(
        name="onnx-ranges",
        about="INT8 graphs for ONNX Runtime, by where activations get equal ranges",
        minutes=1.5,
        command="-m bench.onnx.ranges --model minilm --texts 15 --rounds 5 --json {out}/ranges.json",
        quick_minutes=3,
        quick="-m bench.onnx.ranges --model minilm --texts 3 --rounds 3 --json {out}/ranges.json",
        needs=("torch", "transformers", "onnx", "onnxruntime", "minilm", "texts"),
        collect=_json("ranges.json"),
    ),
    Part(
        name="soak",
        about="many requests and load/close cycles: what is left over",
        minutes=0.7,
        command="-m bench.soak.run --requests 100000 --cycles 50 --json {out}/soak.json",
        quick_minutes=1,
        quick="-m bench.soak.run --requests 2000 --cycles 10 --idle-seconds 0.5 --json {out}/soak.json",
        needs=(),
        collect=_json("soak.json"),
    ),
    Part(
        name="gpu",
        about="half precision, padding and the ladder on a GPU",
        minutes=9,
        command="-m bench.gpu.run --minutes 7.5 --json {out}/gpu.json",
        quick_minutes=0,
        quick="",
        needs=("torch", "transformers", "minilm", "cuda"),
        collect=_json("gpu.json"),
    ),
    Part(
        name="accuracy",
        about="scores of teachers, students, prunings and INT8 on real data, over seeds",
        minutes=0,
        command="-m bench.accuracy.run",
        quick_minutes=0,
        quick="",
        needs=("hours",),
        collect=lambda folder: None,
    ),
)
