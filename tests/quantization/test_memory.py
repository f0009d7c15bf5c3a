# SPDX-License-Identifier: MIT
"""The process really shrinks: freed pages go back, and a checkpoint's pages do not linger behind the packed weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packed_sizes import share_of_float32
from torch import nn

from fastformers.modules.model_bytes import model_bytes
from fastformers.quantization.memory import page_out, return_freed_pages

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")

# A model whose weights are all linear, quantized in a process of its own: peak and final size against its bytes.
MEASURE = """
import gc, sys, torch
from torch import nn
import fastformers as ff
torch.set_num_threads(1)
def megabytes(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024
def quantize(model, gate):
    config = ff.Int8Config(never_slower=False, max_disagreement=gate)
    return ff.quantize_(model, config, texts=[torch.randn(16, model[0].in_features)])
gate = float(sys.argv[1]) if len(sys.argv) > 1 else None
quantize(nn.Sequential(nn.Linear(64, 64)).eval(), gate)  # everything is imported and allocated once
gc.collect()
before = megabytes("VmRSS")
model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(192))).eval()
size = megabytes("VmRSS") - before
with open("/proc/self/clear_refs", "w") as refs:
    refs.write("5")
report = quantize(model, gate)
print((megabytes("VmHWM") - before) / size, (megabytes("VmRSS") - before) / size, report.layers[0].isa)
"""


@pytest.mark.parametrize(("gate", "peak"), [(None, 1.1), (1.0, 1.4)])
def test_peak_and_final_memory_of_a_conversion(gate: float | None, peak: float) -> None:
    command = [sys.executable, "-c", MEASURE, *([] if gate is None else [str(gate)])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    highest, held, isa = done.stdout.split()
    assert float(held) <= share_of_float32(isa) + 0.04
    assert float(highest) <= (peak if isa != "avx2" or gate is None else peak + 0.25)


def resident(tensor: torch.Tensor) -> float:
    """Megabytes of a tensor's mapping that are in memory."""
    size = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        fields = line.split()
        if "-" in fields[0] and not fields[0].endswith(":"):
            first, last = (int(bound, 16) for bound in fields[0].split("-"))
            size = 0.0 if first <= tensor.data_ptr() < last else None
        elif size is not None and fields[0] == "Rss:":
            return int(fields[1]) / 1024
    raise AssertionError("not mapped")


def test_pages_of_a_file_are_dropped_and_read_again(tmp_path: Path) -> None:
    with (tmp_path / "weights.pt").open("wb") as file:
        torch.save({"weight": torch.arange(2**21, dtype=torch.float32)}, file)
        file.flush()
        os.fsync(file.fileno())  # pages that still have to be written stay
    mapped = torch.load(tmp_path / "weights.pt", mmap=True, weights_only=True)["weight"]
    expected = float(mapped.double().sum())
    touched = resident(mapped)
    assert touched >= 8
    page_out(mapped)
    assert resident(mapped) <= touched / 2
    assert float(mapped.double().sum()) == expected


def test_other_memory_is_left_alone() -> None:
    for tensor in (torch.ones(2**21), torch.ones(3), torch.empty(0)):
        page_out(tensor)
        assert bool((tensor == 1).all())
    return_freed_pages()


def test_bytes_count_parameters_and_buffers_once() -> None:
    layer = nn.BatchNorm1d(10)
    assert model_bytes(nn.ModuleList([layer, layer])) == 4 * 10 * 4 + 8
