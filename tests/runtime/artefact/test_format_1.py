# SPDX-License-Identifier: MIT
"""An artefact of format 1 that lies in the repository still loads and still puts out the same bits.

``format_1/`` was written by ``make_format_1`` below, once. A change of the format that cannot read it has to raise the
format's version; a change of the kernels that moves bits has to say so in the changelog and write the outputs anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastformers.kernels import NativeEncoder
from fastformers.runtime.artefact_folder import read_artefact, save_artefact
from fastformers.runtime.verification import verify_artefact

FOLDER = Path(__file__).with_name("format_1")
#: Logits of the tokens 1 to 11.
NOTED = (-0.94316, -0.86388, -2.45257)


def test_it_loads_with_every_file_and_value_accounted_for() -> None:
    artefact = read_artefact(FOLDER, verify="full")
    assert artefact.plan.layers[1].intermediate == 17
    assert artefact.config["id2label"]["2"] == "positive"
    assert NativeEncoder(artefact.plan.to_dict(), artefact.tensors).layers == 2


def test_its_outputs_are_reproduced_bit_for_bit_on_every_instruction_set() -> None:
    found = verify_artefact(FOLDER, full=True)
    assert found.passed, [check for check in found.checks if check.largest_difference > 0]


def test_its_outputs_are_the_ones_noted_here() -> None:
    artefact = read_artefact(FOLDER)
    ids, offsets = np.arange(1, 12, dtype=np.int32), np.array([0, 11], np.int64)
    (logits,) = NativeEncoder(artefact.plan.to_dict(), artefact.tensors).forward(
        ids, None, offsets, ["logits"]
    )
    np.testing.assert_allclose(logits, [NOTED], atol=1e-5)  # noted to five decimals


def make_format_1() -> None:
    """Writes the folder anew, from the plan and the tensors that the other tests of artefacts use."""
    import conftest  # beside this file, which is run as a script for this

    plan = conftest.classifier_plan()
    save_artefact(
        FOLDER, plan, conftest.random_tensors(plan), config=conftest.CONFIG, overwrite=FOLDER.exists()
    )


if __name__ == "__main__":
    make_format_1()
