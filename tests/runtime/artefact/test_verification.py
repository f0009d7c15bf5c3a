# SPDX-License-Identifier: MIT
"""verify reproduces golden outputs bit for bit on every instruction set, and says so when it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import exit_status
from safetensors.numpy import load_file, save_file

from fastformers import kernels
from fastformers.cli.exit_codes import ExitCode
from fastformers.errors import FormatError
from fastformers.runtime.verification import verify_artefact

Seal = Callable[[Path], None]


def change_golden(folder: Path, name: str, value: float) -> None:
    golden = load_file(folder / "golden.safetensors")
    golden[name].flat[-1] = value
    save_file(golden, folder / "golden.safetensors")


@pytest.mark.parametrize("full", [False, True])
def test_golden_outputs_are_reproduced_bit_for_bit(saved: Path, full: bool) -> None:
    before = kernels.active_isa()
    found = verify_artefact(saved, full=full)
    assert found.passed
    assert {check.largest_difference for check in found.checks} == {0.0}
    assert {check.isa for check in found.checks} == set(kernels.available_isas())
    assert {check.batch for check in found.checks} == ({"together", "alone"} if full else {"together"})
    assert len(found.files) == 5
    assert kernels.active_isa() == before


def test_full_runs_the_long_sequences_on_the_scalar_kernels_too(saved: Path) -> None:
    tokens = {
        full: [check.tokens for check in verify_artefact(saved, full=full).checks if check.isa == "reference"]
        for full in (False, True)
    }
    assert tokens[False] == [1 + 3 + 17]
    assert set(tokens[True]) == {1 + 3 + 17 + 40 + 40}


def test_a_golden_output_that_differs_by_one_bit_is_told(damaged: Path, seal: Seal) -> None:
    value = load_file(damaged / "golden.safetensors")["outputs.last_hidden_state"].flat[-1]
    change_golden(damaged, "outputs.last_hidden_state", float(np.nextafter(value, np.float32(9))))
    seal(damaged)
    found = verify_artefact(damaged, full=True)
    assert not found.passed
    assert all(0 < check.largest_difference < 1e-5 for check in found.checks)
    assert "FAILED" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["passed"] is False


def test_a_weight_that_differs_is_told(damaged: Path, seal: Seal) -> None:
    tensors = load_file(damaged / "model.safetensors")
    tensors["layers.0.qkv.weight"][0, 0] += 1 if tensors["layers.0.qkv.weight"][0, 0] < 0 else -1
    save_file(tensors, damaged / "model.safetensors")
    seal(damaged)
    assert not verify_artefact(damaged).passed


def test_an_output_that_became_nan_is_told(damaged: Path, seal: Seal) -> None:
    tensors = load_file(damaged / "model.safetensors")
    tensors["outputs.logits.1.linear.bias"][...] = 3e38
    tensors["outputs.logits.0.linear.scale"][...] = 3e38
    tensors["outputs.logits.1.linear.scale"][...] = 3e38
    save_file(tensors, damaged / "model.safetensors")
    seal(damaged)
    found = verify_artefact(damaged)
    assert not found.passed
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_command_prints_what_was_verified(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("verify", str(saved)) == ExitCode.OK
    text = capsys.readouterr().out
    assert "5 files" in text
    assert all(f"{isa}, together" in text for isa in kernels.available_isas())
    assert exit_status("verify", str(saved), "--full", "--json") == ExitCode.OK
    answer = json.loads(capsys.readouterr().out)
    assert answer["passed"] is True
    assert answer["checks"][0]["largest_difference"] == 0.0


def test_the_commands_status_tells_what_is_wrong(
    damaged: Path, seal: Seal, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    change_golden(damaged, "outputs.logits", 100.0)
    assert exit_status("verify", str(damaged)) == ExitCode.BAD_FILE
    assert "golden.safetensors is damaged" in capsys.readouterr().err
    seal(damaged)
    assert exit_status("verify", str(damaged)) == ExitCode.GATE_FAILED
    assert "FAILED" in capsys.readouterr().out
    assert exit_status("verify", str(tmp_path / "absent")) == ExitCode.USAGE


def test_a_changed_file_is_refused_with_its_name(damaged: Path) -> None:
    (damaged / "config.json").write_text("{}")
    with pytest.raises(FormatError, match=r"config.json has 2 bytes"):
        verify_artefact(damaged)
