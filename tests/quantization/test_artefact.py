# SPDX-License-Identifier: MIT
"""A saved model loads with the same bits on every instruction set, and a bad folder is refused, never half-loaded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import fastformers as ff
from fastformers import errors, kernels
from fastformers.files import replaced_folder as folders
from fastformers.modules import PackedLinear

Make = Callable[..., Any]

SWAP_ALL = ff.Int8Config(never_slower=False)
FILES = ["config.json", "fastformers.json", "model.safetensors", "report.json"]


@pytest.fixture(scope="module")
def saved(
    tmp_path_factory: pytest.TempPathFactory, make_model: Make, token_ids: list[dict[str, Tensor]]
) -> Path:
    """A quantized classifier on disk; tests that change it take a copy."""
    model = make_model("bert", "AutoModelForSequenceClassification")
    ff.quantize_(model, SWAP_ALL, texts=token_ids)
    path = tmp_path_factory.mktemp("saved") / "model"
    ff.save_pretrained(model, path)
    return path


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def outputs(model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return [value for value in model(**inputs).values() if isinstance(value, Tensor)]


def change_json(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def note_size(path: Path, name: str) -> None:
    """Makes the manifest agree with a changed file, so that a later check has to find the change."""
    size = (path / name).stat().st_size
    change_json(path / "fastformers.json", lambda manifest: manifest["files"][name].update(bytes=size))


@pytest.mark.parametrize("task", ["AutoModel", "AutoModelForSequenceClassification", "AutoModelForMaskedLM"])
def test_round_trip_gives_the_same_bits(
    make_model: Make, token_ids: list[dict[str, Tensor]], tmp_path: Path, family: str, task: str
) -> None:
    model = make_model(family, task)
    report = ff.quantize_(model, SWAP_ALL, texts=token_ids)
    ff.save_pretrained(model, tmp_path / "model")
    loaded = ff.load_pretrained_torch(tmp_path / "model")
    assert type(loaded) is type(model)
    assert not loaded.training
    for inputs in token_ids[:2]:
        pairs = zip(outputs(loaded, inputs), outputs(model, inputs), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    assert loaded.fastformers_report == report
    assert {name: type(module) for name, module in loaded.named_modules()} == {
        name: type(module) for name, module in model.named_modules()
    }
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])


def test_a_float_model_is_saved_as_well(
    make_model: Make, token_ids: list[dict[str, Tensor]], tmp_path: Path
) -> None:
    model = make_model("mpnet")
    ff.save_pretrained(model, tmp_path / "model")
    loaded = ff.load_pretrained_torch(tmp_path / "model")
    for got, expected in zip(outputs(loaded, token_ids[0]), outputs(model, token_ids[0]), strict=True):
        assert torch.equal(got, expected)


def test_one_file_serves_every_instruction_set(saved: Path, token_ids: list[dict[str, Tensor]]) -> None:
    answers = []
    for isa in kernels.available_isas():
        with kernels.use_isa(isa):
            model = ff.load_pretrained_torch(saved)
            assert {module.isa for module in model.modules() if isinstance(module, PackedLinear)} == {isa}
            query = model.bert.encoder.layer[0].attention.self.query
            answers.append(query(torch.ones(1, 48)))
    assert all(torch.equal(answer, answers[0]) for answer in answers)


def test_what_is_on_disk(saved: Path) -> None:
    assert sorted(os.listdir(saved)) == FILES
    manifest = json.loads((saved / "fastformers.json").read_text())
    assert (manifest["format"], manifest["format_version"]) == ("fastformers", 2)
    assert manifest["architecture"] == "BertForSequenceClassification"
    entry = manifest["layers"]["bert.encoder.layer.0.intermediate.dense"]
    assert (entry["kind"], entry["activation"], entry["decision"]["decision"]) == (
        "packed_linear",
        "gelu",
        "int8",
    )
    assert "bert.encoder.layer.1.intermediate.intermediate_act_fn" in manifest["identities"]
    tensors = safetensors.torch.load_file(saved / "model.safetensors")
    assert tensors["bert.encoder.layer.0.intermediate.dense.weight"].dtype == torch.int8
    assert tensors["classifier.weight"].dtype == torch.float32
    assert not any("packed" in name for name in tensors)


def test_times_are_not_taken_again_when_loading(
    make_model: Make, token_ids: list[dict[str, Tensor]], tmp_path: Path, fake_times: Callable[..., list[Any]]
) -> None:
    fake_times(lambda linear, rows: (100.0, 200.0 if linear.out_features == 96 else 50.0))
    model = make_model("bert")
    ff.quantize_(model, texts=token_ids)
    ff.save_pretrained(model, tmp_path / "model")
    calls = fake_times(lambda *_: (100.0, 10.0))
    loaded = ff.load_pretrained_torch(tmp_path / "model")
    assert not calls
    assert type(loaded.encoder.layer[0].intermediate.dense) is nn.Linear
    assert loaded.fastformers_report.layers[0].timings[0].packed_us == 50.0


def test_a_tokenizer_is_saved_beside_the_model(
    make_model: Make, tokenizer: Any, texts: list[str], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    model = make_model("bert")
    ff.quantize_(model, SWAP_ALL, tokenizer=tokenizer, texts=texts)
    ff.save_pretrained(model, tmp_path / "model", tokenizer)
    ff.load_pretrained_torch(tmp_path / "model")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert again(texts[0])["input_ids"] == tokenizer(texts[0])["input_ids"]


def test_attention_is_the_one_that_was_used(make_model: Make, tmp_path: Path) -> None:
    model = make_model("bert", attn_implementation="eager")
    ff.save_pretrained(model, tmp_path / "model")
    assert ff.load_pretrained_torch(tmp_path / "model").config._attn_implementation == "eager"


def encoder() -> nn.TransformerEncoder:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()


def test_models_of_others_are_loaded_into_an_instance(tmp_path: Path) -> None:
    for place, make in enumerate(
        (encoder, lambda: nn.Sequential(nn.Linear(32, 40), nn.GELU(), nn.Linear(40, 32)))
    ):
        model, x = make().eval(), torch.randn(3, 5, 32)
        ff.quantize_(model, SWAP_ALL, texts=[x, x, x])
        path = tmp_path / str(place)
        ff.save_pretrained(model, path)
        with pytest.raises(errors.UnsupportedModelError, match="model="):
            ff.load_pretrained_torch(path)
        loaded = ff.load_pretrained_torch(path, make())
        with torch.no_grad():
            assert torch.equal(loaded(x), model(x))
    with pytest.raises(errors.FormatError, match=r"layer 0 has shape \[40, 32\] .* \[32, 32\] in the model"):
        ff.load_pretrained_torch(path, nn.Sequential(nn.Linear(32, 32)))
    with pytest.raises(errors.FormatError, match="'0', which is no linear layer of the model"):
        ff.load_pretrained_torch(path, nn.Sequential(nn.LayerNorm(32)))


def test_a_name_that_could_not_be_read_again_is_refused_when_saving(tmp_path: Path) -> None:
    model = nn.ModuleDict({"en de": nn.Linear(40, 40)}).eval()
    ff.quantize_(model, SWAP_ALL)
    with pytest.raises(errors.UnsupportedModelError, match=r"could not be loaded again.*'en de'"):
        ff.save_pretrained(model, tmp_path / "model")
    assert not list(tmp_path.glob("model*"))


def test_a_layer_in_two_places_stays_one_layer(tmp_path: Path) -> None:
    def make() -> nn.ModuleDict:
        linear = nn.Linear(40, 40)
        return nn.ModuleDict({"one": linear, "other": nn.Sequential(linear)})

    model = make().eval()
    ff.quantize_(model, SWAP_ALL)
    ff.save_pretrained(model, tmp_path / "model")
    loaded = ff.load_pretrained_torch(tmp_path / "model", make())
    assert loaded["one"] is loaded["other"][0]
    assert torch.equal(loaded["one"](torch.ones(1, 40)), model["one"](torch.ones(1, 40)))


def test_an_existing_place_is_not_overwritten_unasked(saved: Path, tmp_path: Path, make_model: Make) -> None:
    model = make_model("bert")
    (tmp_path / "empty").mkdir()
    ff.save_pretrained(model, tmp_path / "empty")
    with pytest.raises(errors.ConfigError, match="overwrite=True"):
        ff.save_pretrained(model, tmp_path / "empty")
    ff.save_pretrained(model, tmp_path / "empty", overwrite=True)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("years of work")
    with pytest.raises(errors.ConfigError, match="not saved by fastformers"):
        ff.save_pretrained(model, tmp_path / "foreign", overwrite=True)
    (tmp_path / "link").symlink_to(saved)
    for path in (tmp_path / "foreign" / "thesis.txt", tmp_path / "link"):
        with pytest.raises(errors.ConfigError, match="not a folder"):
            ff.save_pretrained(model, path, overwrite=True)
    with pytest.raises(errors.ConfigError, match="make it first"):
        ff.save_pretrained(model, tmp_path / "absent" / "model")
    assert sorted(os.listdir(tmp_path)) == ["empty", "foreign", "link"]


@pytest.mark.parametrize("exchange", [True, False])
def test_overwriting_leaves_only_the_new_model(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    path = tmp_path / "out" / "model"
    path.parent.mkdir()
    ff.save_pretrained(make_model("bert"), path)
    other = make_model("electra")
    ff.save_pretrained(other, path, overwrite=True)
    assert type(ff.load_pretrained_torch(path)) is type(other)
    assert os.listdir(path.parent) == ["model"]


def test_an_interrupted_save_leaves_the_old_model(
    make_model: Make, tmp_path: Path, damaged: Path, token_ids: list[dict[str, Tensor]]
) -> None:
    class Interrupted:
        def save_pretrained(self, path: str) -> None:
            assert Path(path) != damaged
            raise KeyboardInterrupt

    expected = outputs(ff.load_pretrained_torch(damaged), token_ids[0])
    before = sorted(os.listdir(damaged.parent))
    with pytest.raises(KeyboardInterrupt):
        ff.save_pretrained(make_model("bert"), damaged, Interrupted(), overwrite=True)
    assert sorted(os.listdir(damaged.parent)) == before
    found = outputs(ff.load_pretrained_torch(damaged), token_ids[0])
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_shapes_that_the_config_does_not_build_are_refused_when_saving(
    make_model: Make, tmp_path: Path
) -> None:
    model = make_model("bert")
    model.pooler.dense = nn.Linear(48, 72)
    with pytest.raises(errors.UnsupportedModelError, match=r"pooler.dense.bias is of shape \[72\] .* \[48\]"):
        ff.save_pretrained(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_told(damaged: Path, name: str) -> None:
    (damaged / name).unlink()
    with pytest.raises(errors.FormatError, match=f"{name} is missing"):
        ff.load_pretrained_torch(damaged)


@pytest.mark.parametrize("name", FILES)
def test_a_link_instead_of_a_file_is_refused(damaged: Path, saved: Path, name: str) -> None:
    (damaged / name).unlink()
    (damaged / name).symlink_to(saved / name)
    with pytest.raises(errors.FormatError, match="symbolic link"):
        ff.load_pretrained_torch(damaged)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "report.json"])
def test_a_changed_file_is_told(damaged: Path, name: str) -> None:
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    with pytest.raises(errors.FormatError, match=f"{name} is damaged: its SHA-256"):
        ff.load_pretrained_torch(damaged)
    (damaged / name).write_bytes(content[:-5])
    with pytest.raises(errors.FormatError, match=f"{name} has .* bytes"):
        ff.load_pretrained_torch(damaged)


def test_truncated_and_flipped_tensors_never_crash(damaged: Path) -> None:
    file = damaged / "model.safetensors"
    content = file.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for place in (0, 3, 9, 40, header // 2, header - 3):
        for cut in (False, True):
            flipped = bytes([content[place] ^ 0x15]) + content[place + 1 :]
            file.write_bytes(content[:place] + (b"" if cut else flipped))
            note_size(damaged, file.name)
            with pytest.raises(errors.FormatError):
                ff.load_pretrained_torch(damaged, verify=False)


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Changes the stored tensors."""
    tensors = safetensors.torch.load_file(path / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, path / "model.safetensors")
    note_size(path, "model.safetensors")


LAYER = "bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(f"{LAYER}.weight"), f"no tensor '{LAYER}.weight'"),
        (lambda t: t.pop("classifier.bias"), "no tensor 'classifier.bias'"),
        (lambda t: t.update({"extra": torch.ones(1)}), "'extra', which the model has no place for"),
        (lambda t: t.update({f"{LAYER}.weight": torch.zeros(48, 48)}), "is torch.float32 in the file"),
        (
            lambda t: t.update({f"{LAYER}.weight": torch.zeros(48, 47, dtype=torch.int8)}),
            r"has shape \[48, 47\]",
        ),
        (lambda t: t[f"{LAYER}.weight"].fill_(-128), "refused: weight .* is -128"),
        (lambda t: t[f"{LAYER}.weight_scale"].fill_(float("inf")), "refused: .*scale"),
        (lambda t: t[f"{LAYER}.input_factors"].fill_(0), "refused: factors"),
        (lambda t: t.update({"classifier.weight": torch.ones(2, 48, dtype=torch.int32)}), "is torch.int32"),
        (lambda t: t.update({"classifier.weight": torch.ones(3, 48)}), r"has shape \[3, 48\]"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    damaged: Path, change: Callable[[dict[str, Tensor]], object], words: str
) -> None:
    rewrite(damaged, change)
    with pytest.raises(errors.FormatError, match=words):
        ff.load_pretrained_torch(damaged, verify=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(auto_map={"AutoModel": "evil.Model"}), "asks for code"),
        (lambda c: c.update(quantization_config={"quant_method": "x"}), "asks for code or for another"),
        (lambda c: c.update(model_type="nonsense"), "does not build"),
        (lambda c: c.update(model_type="roberta"), "does not belong to"),
        (lambda c: c.update(hidden_size=49), "does not build|has shape"),
        (lambda c: c.update(num_hidden_layers=3), "no tensor"),
        (lambda c: c.update(hidden_size="x"), "does not build"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    damaged: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    change_json(damaged / "config.json", change)
    note_size(damaged, "config.json")
    with pytest.raises(errors.FormatError, match=words):
        ff.load_pretrained_torch(damaged, verify=False)
