# SPDX-License-Identifier: MIT
"""A compiled encoder that was saved gives the same bits when it is loaded; other models are saved as before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import fastformers as ff
from fastformers.errors import ConfigError, FormatError, UnsupportedModelError
from fastformers.runtime.artefact import load_artefact
from fastformers.runtime.verification import verify_artefact

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
    "num_labels": 3,
}
#: Name -> (configuration class, automatic class, further arguments).
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert classifier": ("BertConfig", "AutoModelForSequenceClassification", {}),
    "roberta tokens": ("RobertaConfig", "AutoModelForTokenClassification", {"type_vocab_size": 1}),
    "mpnet base": ("MPNetConfig", "AutoModel", {}),
    "electra spans": (
        "ElectraConfig",
        "AutoModelForQuestionAnswering",
        {"embedding_size": 16, "num_labels": 2},
    ),
    "modernbert": (
        "ModernBertConfig",
        "AutoModel",
        {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    ),
}
IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])


def make_model(name: str) -> Any:
    config, kind, changes = MODELS[name]
    torch.manual_seed(0)
    made = getattr(transformers, config)(**{**SIZES, "pad_token_id": 0, **changes})
    return getattr(transformers, kind).from_config(made).eval()


def outputs(model: Any) -> list[Tensor]:
    with torch.no_grad():
        result = model(input_ids=IDS, attention_mask=MASK)
    return [value for value in result.values() if isinstance(value, Tensor)]


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_encoder_comes_back_with_the_same_bits(tmp_path: Path, name: str, int8: bool) -> None:
    config = ff.CompileConfig(int8=ff.Int8Config() if int8 else None, int8_embeddings=int8)
    fast = ff.compile(make_model(name), config)
    ff.save_pretrained(fast, tmp_path / "x")
    loaded = ff.load(tmp_path / "x", verify="full")
    assert (loaded.plan, loaded.result, loaded.notes) == (fast.plan, fast.result, fast.notes)
    assert loaded.report == fast.report
    pairs = zip(outputs(loaded), outputs(fast), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    batch = {"input_ids": IDS, "attention_mask": MASK}
    assert type(loaded(**batch)) is type(fast(**batch))
    assert verify_artefact(tmp_path / "x").passed


def test_a_loaded_encoder_can_be_saved_again(tmp_path: Path) -> None:
    ff.save_pretrained(ff.compile(make_model("bert classifier")), tmp_path / "x")
    ff.save_pretrained(ff.load(tmp_path / "x"), tmp_path / "y")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "xy")
    assert one == other
    ff.save_pretrained(ff.load(tmp_path / "x"), tmp_path / "x", overwrite=True)
    assert (tmp_path / "x" / "model.safetensors").read_bytes() == one


def test_arguments_of_load_are_used(tmp_path: Path) -> None:
    ff.save_pretrained(ff.compile(make_model("bert classifier")), tmp_path / "x")
    loaded = ff.load(tmp_path / "x", threads=2, attention="float32")
    assert (loaded.threads, loaded.attention) == (2, "float32")
    with pytest.raises(ConfigError, match="attention is 'bf16'"):
        ff.load(tmp_path / "x", attention="bf16")
    for threads in (0, -1, "2"):
        with pytest.raises(ConfigError, match="threads is"):
            ff.load(tmp_path / "x", threads=threads)  # type: ignore[arg-type]


def test_the_folder_of_a_tokenizer_is_no_tokenizer(tmp_path: Path) -> None:
    encoder = ff.compile(make_model("bert classifier"), ff.CompileConfig(int8=None))
    with pytest.raises(UnsupportedModelError, match="tokenizer is str"):
        ff.save_pretrained(encoder, tmp_path / "x", tokenizer="my-bert")
    assert not (tmp_path / "x").exists()


def test_labels_and_source_are_kept(tmp_path: Path) -> None:
    model = make_model("bert classifier")
    model.config.id2label = {0: "no", 1: "maybe", 2: "yes"}
    ff.save_pretrained(ff.compile(model), tmp_path / "x")
    assert load_artefact(tmp_path / "x").labels == ("no", "maybe", "yes")
    manifest = json.loads((tmp_path / "x" / "fastformers.json").read_text())
    assert manifest["source"] == {"model_type": "bert", "transformers_version": transformers.__version__}


def test_other_models_are_saved_as_before_and_each_loader_names_the_other(tmp_path: Path) -> None:
    model = make_model("bert classifier")
    ff.save_pretrained(model, tmp_path / "torch")
    again = ff.load_pretrained_torch(tmp_path / "torch")
    assert all(torch.equal(one, other) for one, other in zip(outputs(again), outputs(model), strict=True))
    with pytest.raises(FormatError, match=r"load it with fastformers.load_pretrained_torch"):
        ff.load(tmp_path / "torch")
    ff.save_pretrained(ff.compile(model), tmp_path / "fast")
    with pytest.raises(FormatError, match=r"compiled encoder: load it with fastformers.load$"):
        ff.load_pretrained_torch(tmp_path / "fast")


@pytest.mark.parametrize("result", ["NoSuchOutput", "OrderedDict_", "BaseModelOutput", "ModelOutput", None])
def test_an_unknown_class_of_outputs_is_refused(tmp_path: Path, result: str | None) -> None:
    ff.save_pretrained(ff.compile(make_model("mpnet base")), tmp_path / "x")
    file = tmp_path / "x" / "fastformers.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "result": result}))
    with pytest.raises(FormatError, match=r"no class|class of outputs|has no .* which the encoder puts out"):
        ff.load(tmp_path / "x")
    assert load_artefact(tmp_path / "x").native.layers == 2


def test_a_damaged_report_is_refused(tmp_path: Path) -> None:
    from fastformers.files.digests import checksum_of, sha256_of

    ff.save_pretrained(ff.compile(make_model("bert classifier")), tmp_path / "x")
    text = b'{"layers": 3}'
    (tmp_path / "x" / "report.json").write_bytes(text)
    file = tmp_path / "x" / "fastformers.json"
    manifest = json.loads(file.read_text())
    manifest["files"]["report.json"] = {
        "bytes": len(text),
        "sha256": sha256_of(text),
        "checksum": checksum_of(text),
    }
    file.write_text(json.dumps(manifest))
    with pytest.raises(FormatError, match="not a quantization report"):
        ff.load(tmp_path / "x")
    shutil.rmtree(tmp_path / "x")
