# SPDX-License-Identifier: MIT
"""A folder that was written before pruned models could be saved still loads, and answers as it did.

``format_1/`` was written once, by the last version of the package that wrote format 1, and never again.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

import fastformers as ff

FOLDER = Path(__file__).with_name("format_1")
#: Logits of the tokens 1 to 11.
NOTED = (-0.22831, 0.12627)


def test_a_folder_of_format_1_answers_as_noted() -> None:
    assert json.loads((FOLDER / "fastformers.json").read_text())["format_version"] == 1
    model = ff.load_pretrained_torch(FOLDER)
    with torch.no_grad():
        logits = model(input_ids=torch.arange(1, 12)[None]).logits
    torch.testing.assert_close(logits, torch.tensor([NOTED]), rtol=0, atol=1e-4)  # noted to five decimals
