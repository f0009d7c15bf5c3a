# SPDX-License-Identifier: MIT
"""``fastformers recipe`` and ``fastformers compile``: options arrive, errors become exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import exit_status
from search_recipe import search_recipe
from tiny_models import save_checkpoint, word_pieces

from fastformers.cli.exit_codes import ExitCode
from fastformers.config import Int8Config
from fastformers.files.fields import MANIFEST


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = exit_status(*arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_ready_recipes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "recipe", "list")
    assert status == ExitCode.OK
    assert "boolq" in out
    assert "own-csv" in out
    status, out, _ = run(capsys, "recipe", "show", "rte")
    assert status == ExitCode.OK
    assert 'task = "rte"' in out


def test_an_unknown_recipe_is_a_usage_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, err = run(capsys, "recipe", "run", "nope", "-o", str(tmp_path / "out"))
    assert status == ExitCode.USAGE
    assert "ready recipes: boolq" in err


def test_a_missing_model_and_a_malformed_one_are_usage_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("recipe", "run", "rte", "-o", str(tmp_path / "out"), "--data", str(tmp_path))
    status, _, err = run(capsys, *arguments)
    assert status == ExitCode.USAGE
    assert "--model large=DIR" in err
    status, _, err = run(capsys, *arguments, "--model", "large")
    assert status == ExitCode.USAGE
    assert "NAME=DIR" in err
    status, _, err = run(capsys, *arguments, "--model", "large=a", "--model", "large=b")
    assert status == ExitCode.USAGE
    assert "--model large=... is there twice, with a and b" in err
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_toml_is_a_bad_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[")
    status, _, err = run(capsys, "recipe", "run", str(tmp_path / "r.toml"), "-o", str(tmp_path / "out"))
    assert status == ExitCode.BAD_FILE
    assert "not TOML" in err


RECIPE = search_recipe(max_length=16, depth=[1])


@pytest.fixture
def tiny_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The command line that runs a recipe with a search, up to its options."""
    monkeypatch.setattr("fastformers.recipes.speed._MOST_ROUNDS", 3)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    save_checkpoint(tmp_path / "base", word_pieces(["good", "bad"]), **sizes)
    (tmp_path / "data").mkdir()
    rows = [json.dumps({"text": label, "label": label}) for label in ("good", "bad") * 4]
    for split in ("train", "val"):
        (tmp_path / "data" / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "r.toml").write_text(RECIPE, encoding="utf-8")
    given = ("--data", str(tmp_path / "data"), "--model", f"base={tmp_path / 'base'}")
    return "recipe", "run", str(tmp_path / "r.toml"), "-o", str(tmp_path / "out"), *given


def test_a_dry_run_writes_nothing_and_prints_text_or_one_json_object(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_recipe: tuple[str, ...]
) -> None:
    status, out, _ = run(capsys, *tiny_recipe, "--dry-run")
    assert (status, "8 training and 8 validation examples" in out) == (ExitCode.OK, True)
    _, out, _ = run(capsys, *tiny_recipe, "--dry-run", "--json")
    plan = json.loads(out)
    assert [(stage["name"], stage["cached"]) for stage in plan["stages"]] == [("teacher", False)]
    assert plan["seconds"] == sum(stage["seconds"] for stage in plan["stages"])
    _, out, _ = run(capsys, *tiny_recipe, "--dry-run", "--max-drop", "1", "--json")
    found = json.loads(out)
    assert (found["students"], found["timed"], found["trained"]) == (1, 1, 1)
    assert [stage["name"] for stage in found["longest"]["stages"]] == ["teacher", "1-layers", "1-layers-int8"]
    _, out, _ = run(capsys, *tiny_recipe, "--dry-run", "--target-speedup", "2")
    assert "that is the longest of 1 students; at most 1 are timed" in out
    assert not (tmp_path / "out").exists()


def test_a_dry_run_refuses_what_the_search_would(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_recipe: tuple[str, ...]
) -> None:
    (tmp_path / "r.toml").write_text(RECIPE.replace("depth = [1]", "depth = [9]"), encoding="utf-8")
    status, _, err = run(capsys, *tiny_recipe, "--dry-run", "--max-drop", "1")
    assert status == ExitCode.USAGE
    assert "depth has 9" in err


def test_a_search_within_its_budgets_and_one_that_misses_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_recipe: tuple[str, ...]
) -> None:
    status, out, _ = run(capsys, *tiny_recipe, "--max-drop", "100", "--json")
    assert (status, json.loads(out)["chosen"]) == (ExitCode.OK, "1-layers-int8")
    status, _, err = run(capsys, *tiny_recipe, "--target-speedup", "1000000")
    assert status == ExitCode.GATE_FAILED
    assert "target_speedup 1e+06 cannot be met" in err


def test_a_model_folder_is_compiled_to_one_that_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fastformers as ff

    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    save_checkpoint(tmp_path / "model", word_pieces(["a", "text"]), **sizes)
    arguments = ("compile", str(tmp_path / "model"), "--pooling", "mean", "-o")
    status, out, _ = run(capsys, *arguments, str(tmp_path / "fast"), "--json")
    assert status == ExitCode.OK
    assert sum(layer["decision"] == "int8" for layer in json.loads(out)["layers"]) == 6
    with ff.Engine.from_pretrained(tmp_path / "fast", instances=1) as engine:
        assert engine.embed(["a text"]).shape == (1, 64)
    monkeypatch.setattr("fastformers.cli.compile.int8_note", lambda: "INT8 saves memory here")
    status, out, _ = run(capsys, *arguments, str(tmp_path / "float"), "--float32")
    assert status == ExitCode.OK
    assert "INT8 saves" not in out
    assert ff.load(tmp_path / "float").report is None
    status, out, _ = run(capsys, *arguments, str(tmp_path / "again"))
    assert "note: INT8 saves memory here" in out
    assert "INT8 saves memory" not in (tmp_path / "again" / MANIFEST).read_text(encoding="utf-8")
    status, _, err = run(capsys, *arguments, str(tmp_path / "x"), "--float32", "--data", str(tmp_path))
    assert status == ExitCode.USAGE
    assert "exclude each other" in err


def test_rounding_and_embeddings_are_chosen_when_compiling(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from fastformers.recipes.quantizing import quantize_folder
    from fastformers.runtime.artefact_folder import read_artefact

    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    save_checkpoint(tmp_path / "model", word_pieces(["a", "text"]), **sizes)
    held = []
    for number, options in enumerate(((), ("--rounding", "compensated", "--int8-embeddings"))):
        folder = tmp_path / str(number)
        status, _, _ = run(
            capsys, "compile", str(tmp_path / "model"), "--pooling", "mean", "-o", str(folder), *options
        )
        assert status == ExitCode.OK
        held.append(read_artefact(folder).tensors)
    assert [tensors["embeddings.word"].dtype for tensors in held] == ["float32", "int8"]
    name = next(each for each in held[0] if each.endswith("up.weight"))
    assert (held[0][name] != held[1][name]).any()
    quantize_folder(tmp_path / "model", tmp_path / "int8", Int8Config(never_slower=False))
    arguments = ("compile", str(tmp_path / "int8"), "--pooling", "mean", "-o", str(tmp_path / "of-int8"))
    for option, words in (
        (("--rounding", "compensated"), "rounding of Int8Config would change nothing"),
        (("--float32",), "are INT8 and stay as they are: leave float32 out"),
    ):
        status, _, err = run(capsys, *arguments, *option)
        assert status == ExitCode.USAGE
        assert words in " ".join(err.split())
    status, _, _ = run(capsys, *arguments)
    assert status == ExitCode.OK
    arguments = ("compile", str(tmp_path / "model"), "--float32", "--rounding", "compensated", "-o", "x")
    status, _, err = run(capsys, *arguments)
    assert status == ExitCode.USAGE
    assert "leave one out" in err
