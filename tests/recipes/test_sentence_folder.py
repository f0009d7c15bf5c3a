# SPDX-License-Identifier: MIT
"""Folders of sentence-transformers give the embedding that sentence-transformers gives, or say what is not covered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import fastformers as ff
from fastformers.cli.app import app
from fastformers.errors import FormatError, UnsupportedModelError
from fastformers.recipes.compile_folder import compile_folder
from fastformers.recipes.model_folder import open_model
from fastformers.recipes.pruning import prune_folder
from fastformers.recipes.quantizing import quantize_folder

TEXTS = ["the cat sat on the mat", "dog", "who ran because of the bank of the river so not money good bad"]
FLOAT32 = ff.CompileConfig(int8=None, attention="float32")
_OLD, _NEW = "sentence_transformers.models.", "sentence_transformers.base.modules.any."


def sentence_folder(
    checkpoint: Path, folder: Path, kinds: tuple[str, ...], pooling: Any, *, package: str = _OLD, **files: Any
) -> Path:
    """A checkpoint as links, as in a hub's cache, with what sentence-transformers writes beside it."""
    folder.mkdir()
    for file in checkpoint.iterdir():
        (folder / file.name).symlink_to(file)
    paths = ["", *(f"{place}_{kind}" for place, kind in enumerate(kinds[1:], 1))]
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": package + kind}
        for place, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    for path in paths[1:]:
        (folder / path).mkdir()
    contents = {"modules": modules, "1_Pooling/config": pooling, **files}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def rows(folder: Path, text: str) -> Any:
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokenizer([text], return_tensors="pt")).last_hidden_state[0].numpy()


@pytest.mark.parametrize(
    ("pooling", "first"),
    [
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, False),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, True),
        ({"pooling_mode": "cls", "include_prompt": True}, True),
        ({"pooling_mode": "mean"}, False),
        ({"pooling_mode": ["mean"]}, False),
    ],
)
@pytest.mark.parametrize("normalize", [False, True])
def test_embeddings_are_pooled_as_the_folder_says(
    tmp_path: Path, tiny_checkpoint: Path, pooling: dict[str, Any], first: bool, normalize: bool
) -> None:
    kinds = ("Transformer", "Pooling", *(["Normalize"] * normalize))
    folder = sentence_folder(tiny_checkpoint, tmp_path / "model", kinds, pooling, package=_NEW)
    compile_folder(folder, tmp_path / "fast", FLOAT32)
    ff.export_onnx(folder, tmp_path / "onnx", check=False)
    wanted = []
    for text in TEXTS:
        found = rows(folder, text)
        pooled = found[0] if first else found.mean(axis=0)
        wanted.append(pooled / np.linalg.norm(pooled) if normalize else pooled)
    with ff.Engine.from_pretrained(tmp_path / "fast") as engine, ff.OrtModel(tmp_path / "onnx") as exported:
        np.testing.assert_allclose(engine.embed(TEXTS), wanted, atol=1e-4)  # the bound of float32 encoders
        np.testing.assert_allclose(exported.embed(TEXTS), wanted, atol=1e-4)  # the bound of float32 exports
    encoder = ff.compile(folder, FLOAT32)
    words = "pooling 'first'" if first else "pooling 'mean'"
    assert encoder.notes == (
        f"{words}, {'' if normalize else 'not '}normalised, as modules.json of the folder says",
    )


def test_a_folder_of_a_masked_language_model_is_opened_without_its_head(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    folder = sentence_folder(tiny_checkpoint, tmp_path / "model", ("Transformer", "Pooling"), {})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    assert type(open_model(folder).model).__name__ == "BertModel"


def test_texts_are_cut_where_the_folder_cuts_them(tmp_path: Path, tiny_checkpoint: Path) -> None:
    kinds = ("Transformer", "Pooling")
    limit = {"sentence_bert_config": {"max_seq_length": 5, "do_lower_case": False}}
    folder = sentence_folder(tiny_checkpoint, tmp_path / "model", kinds, {"pooling_mode": "mean"}, **limit)
    compile_folder(folder, tmp_path / "fast", FLOAT32)
    with ff.Engine.from_pretrained(tmp_path / "fast") as engine:
        assert engine.max_length == 5
    assert any(
        "cut at 5 tokens: set tokenizer.model_max_length = 5" in n for n in ff.compile(folder, FLOAT32).notes
    )


def test_a_pruned_copy_says_that_pooling_is_left_out(tmp_path: Path, tiny_checkpoint: Path) -> None:
    kinds = ("Transformer", "Pooling")
    folder = sentence_folder(tiny_checkpoint, tmp_path / "model", kinds, {"pooling_mode": "mean"})
    config = ff.PruneConfig(heads=1, scores="magnitude")
    (note,) = prune_folder(folder, tmp_path / "pruned", None, config).notes
    assert note.startswith("modules.json of the folder is not carried along")
    assert prune_folder(tiny_checkpoint, tmp_path / "plain", None, config).notes == ()
    report = json.loads((tmp_path / "pruned" / "pruning.json").read_text())
    assert report["notes"] == [note]


def test_what_a_folder_does_to_texts_before_is_told(tmp_path: Path, tiny_checkpoint: Path) -> None:
    files = {
        "sentence_bert_config": {"do_lower_case": True},
        "config_sentence_transformers": {"prompts": {"query": "query: "}, "default_prompt_name": "query"},
    }
    kinds = ("Transformer", "Pooling")
    folder = sentence_folder(tiny_checkpoint, tmp_path / "model", kinds, {"pooling_mode": "mean"}, **files)
    notes = ff.compile(folder, FLOAT32).notes
    assert "the folder's prompt 'query: ' is not put before texts: do that yourself" in notes
    assert "the folder's texts are lower-cased before they are tokenized: do that yourself" in notes


@pytest.mark.parametrize(
    ("kinds", "pooling", "named"),
    [
        (("Transformer", "Pooling", "Dense"), {"pooling_mode": "mean"}, "Transformer, Pooling, Dense"),
        (("Transformer", "Pooling"), {"pooling_mode": "lasttoken"}, "lasttoken"),
        (("Transformer", "Pooling"), {"pooling_mode": ["cls", "mean"]}, "cls.*mean"),
        (("Transformer", "Pooling"), {"pooling_mode_max_tokens": True}, "max"),
    ],
)
def test_steps_that_are_not_covered_are_named_and_a_pooling_of_ones_own_is_the_way_out(
    tmp_path: Path, tiny_checkpoint: Path, kinds: tuple[str, ...], pooling: Any, named: str
) -> None:
    folder = sentence_folder(tiny_checkpoint, tmp_path / "model", kinds, pooling)
    with pytest.raises(UnsupportedModelError, match=named):
        ff.compile(folder, FLOAT32)
    encoder = ff.compile(folder, ff.CompileConfig(int8=None, pooling="mean"))
    assert encoder.notes == (
        "pooling 'mean', not normalised, as asked for; modules.json of the folder was not looked at",
    )


def test_the_command_says_how_it_pools(tmp_path: Path, tiny_checkpoint: Path) -> None:
    kinds = ("Transformer", "Pooling", "Normalize")
    folder = sentence_folder(tiny_checkpoint, tmp_path / "model", kinds, {"pooling_mode": "mean"})
    done = CliRunner().invoke(app, ["compile", str(folder), "-o", str(tmp_path / "fast"), "--float32"])
    assert done.exit_code == 0, done.output
    assert "note: pooling 'mean', normalised, as modules.json of the folder says" in done.output


def test_an_int8_copy_of_the_encoder_tells_that_pooling_stayed_behind(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    folder = sentence_folder(
        tiny_checkpoint, tmp_path / "model", ("Transformer", "Pooling"), {"pooling_mode": "mean"}
    )
    notes = quantize_folder(folder, tmp_path / "int8").notes
    assert any("modules.json of the folder is not carried along" in note for note in notes)
    notes = quantize_folder(tiny_checkpoint, tmp_path / "plain").notes
    assert not any("modules.json" in note for note in notes)


def test_a_damaged_list_of_modules_is_refused(tmp_path: Path, tiny_checkpoint: Path) -> None:
    folder = sentence_folder(tiny_checkpoint, tmp_path / "model", ("Transformer", "Pooling"), {})
    for content in ("[", '{"a": 1}', "[1]", "[]}, {"):
        (folder / "modules.json").write_text(content)
        with pytest.raises(FormatError, match=r"modules\.json"):
            open_model(folder)
