# SPDX-License-Identifier: MIT
"""Embedding tables in 8 bits: rounded as fbgemm does, saved and loaded again, and an oracle for the engine's own."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastformers as ff
from fastformers.errors import (
    ConfigError,
    DtypeError,
    FormatError,
    MissingExtraError,
    NonFiniteError,
    ShapeError,
    UnsupportedModelError,
)
from fastformers.modules.rowwise_embedding import RowwiseEmbedding

transformers = pytest.importorskip("transformers")
SIZES = {
    "vocab_size": 1200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}
WORDS = "bert.embeddings.word_embeddings"


def make(kind: str = "BertForSequenceClassification", **changes: Any) -> Any:
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.BertConfig(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, 0.5)
    return model


def ids(count: int = 3) -> Tensor:
    return torch.randint(1, 1200, (count, 11), generator=torch.Generator().manual_seed(0))


def answers(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(ids()).logits
    return found


def test_without_fbgemm_the_extra_is_named_and_the_model_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fbgemm_gpu", None)
    model = make()
    with pytest.raises(MissingExtraError, match=r"8-bit embedding table.* needs fbgemm_gpu.*\[fbgemm\]"):
        ff.quantize_embeddings_(model)
    assert type(model.get_submodule(WORDS)) is nn.Embedding


@pytest.mark.parametrize(
    ("model", "config", "error", "words"),
    [
        (nn.Linear(2, 2), None, UnsupportedModelError, "no embedding table"),
        (nn.Sequential(nn.Embedding(3, 2)).train(), None, UnsupportedModelError, "training mode"),
        (nn.Sequential(nn.Embedding(3, 2)), {"exclude": ("1",)}, ConfigError, "'1', which matches none.*: 0"),
    ],
)
def test_models_and_names_that_do_not_fit_are_refused(
    model: nn.Module, config: Any, error: type[Exception], words: str
) -> None:
    model = model if "training" in words else model.eval()
    with pytest.raises(error, match=words):
        ff.quantize_embeddings_(model, ff.Int8EmbeddingConfig(**config) if config else None)


@pytest.mark.parametrize(
    "wrong", [{"min_rows": 0}, {"min_rows": True}, {"exclude": "words"}, {"exclude": ("",)}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ff.Int8EmbeddingConfig(**wrong)


class TestWithFbgemm:
    @pytest.fixture(autouse=True)
    def _needs_fbgemm(self) -> None:
        pytest.importorskip("fbgemm_gpu", reason="the extra fbgemm (fbgemm-gpu-cpu) is not installed")

    @pytest.mark.parametrize("added", ["forward hooks", "a forward of its own"])
    def test_a_table_that_does_more_than_its_class_stays(self, added: str) -> None:
        model = make()
        table: Any = model.get_submodule(WORDS)
        if added == "forward hooks":
            table.register_forward_hook(lambda module, inputs, output: output * 5)
        else:
            stock = table.forward
            table.forward = lambda given: stock(given) * 5
        before = answers(model)
        report = ff.quantize_embeddings_(model)
        assert [each.reason for each in report.tables if each.name == WORDS] == [
            f"it has {added}, which a swap would lose"
        ]
        assert torch.equal(answers(model), before)

    def test_the_word_table_is_swapped_and_the_bytes_are_counted(self) -> None:
        model = make()
        report = ff.quantize_embeddings_(model)
        assert isinstance(model.get_submodule(WORDS), RowwiseEmbedding)
        assert [table.reason for table in report.tables] == [
            "",
            *["it has fewer than 1,000 rows (min_rows)"] * 2,
        ]
        assert report.bytes_saved == 1200 * (4 * 32 - (32 + 8))
        assert "1 of 3 embedding tables put into 8 bits, 0.11 MB saved" in str(report)
        assert json.loads(json.dumps(report.to_dict()))["bytes_saved"] == report.bytes_saved
        sqnr = report.tables[0].sqnr_db
        # Uniform noise of step s has variance s^2/12; 32 normal values span about 4 deviations, so s = 4/255.
        assert sqnr is not None
        assert 43 < sqnr < 50

    @pytest.mark.parametrize("columns", [1, 5, 8, 33])
    @pytest.mark.parametrize("kind", [torch.int64, torch.int32])
    def test_rows_are_within_half_a_step_in_any_shape(self, columns: int, kind: torch.dtype) -> None:
        weight = torch.randn(50, columns, generator=torch.Generator().manual_seed(0))
        weight[7] = 0
        table = RowwiseEmbedding.from_float(weight)
        asked = torch.tensor([[[7, 49], [0, 7]]], dtype=kind)
        step = (weight.amax(1) - weight.amin(1)) / 255
        error = (table(asked) - weight[asked.long()]).abs()
        # Scale and bias are rounded to float32 too.
        assert (error <= 0.5 * step[asked.long()][..., None] + 1e-6).all()
        assert not table(asked)[0, 0, 0].any()
        assert torch.equal(table.weight[asked.long()], table(asked))
        assert table(asked[:0]).shape == (0, 2, 2, columns)
        with pytest.raises(IndexError):
            table(torch.tensor([50]))

    def test_answers_stay_near_and_do_not_depend_on_the_order_of_quantization(self) -> None:
        model = make()
        wanted = answers(model)
        ff.quantize_embeddings_(model)
        # 46 dB of noise is 0.5 % of the embeddings; LayerNorm and two layers keep it of that order.
        assert (answers(model) - wanted).abs().max() < 0.05 * wanted.abs().max()
        config = ff.Int8Config(never_slower=False)
        ff.quantize_(model, config)
        other = make()
        ff.quantize_(other, config)
        ff.quantize_embeddings_(other)
        assert torch.equal(answers(model), answers(other))

    def test_tables_that_cannot_be_swapped_say_why(self) -> None:
        tied = make("BertForMaskedLM", tie_word_embeddings=True)
        assert "another layer shares its weights" in str(ff.quantize_embeddings_(tied))
        model = nn.Sequential(nn.Embedding(1500, 4), nn.Embedding(1500, 4, max_norm=1.0)).eval()
        model.append(nn.Embedding(1500, 4).half())
        report = ff.quantize_embeddings_(model, ff.Int8EmbeddingConfig(exclude=("0",)))
        reasons = [table.reason for table in report.tables]
        assert reasons[:2] == ["excluded", "it does more than look rows up"]
        assert "torch.float16" in reasons[2]
        assert report.bytes_saved == 0
        done = make()
        ff.quantize_embeddings_(done)
        assert "it has 8 bits already" in str(ff.quantize_embeddings_(done))

    def test_after_an_error_the_model_is_as_it_was(self) -> None:
        model = nn.Sequential(nn.Embedding(1500, 4), nn.Embedding(1500, 4)).eval()
        with torch.no_grad():
            model[1].weight[13, 2] = float("nan")
        with pytest.raises(NonFiniteError, match="row 13 of 1 holds NaN"):
            ff.quantize_embeddings_(model)
        assert [type(module) for module in model] == [nn.Embedding, nn.Embedding]

    def test_a_table_at_two_places_is_one_table(self) -> None:
        table = nn.Embedding(1500, 4)
        model = nn.ModuleDict({"a": table, "b": table}).eval()
        report = ff.quantize_embeddings_(model)
        assert len(report.tables) == 1
        assert model["a"] is model["b"]
        assert isinstance(model["a"], RowwiseEmbedding)

    def test_what_is_no_fused_table_is_refused(self) -> None:
        for table, error in (
            (torch.zeros(3, 12), DtypeError),
            (torch.zeros(3, 8, dtype=torch.uint8), ShapeError),
        ):
            with pytest.raises(error):
                RowwiseEmbedding(table)
        with pytest.raises(DtypeError):
            RowwiseEmbedding.from_float(torch.zeros(3, 2).double())
        with pytest.raises(ShapeError):
            RowwiseEmbedding.from_float(torch.zeros(3))

    def test_saved_models_load_with_the_same_answers_and_fewer_bytes(self, tmp_path: Path) -> None:
        model = make()
        ff.save_pretrained(model, tmp_path / "float")
        ff.quantize_(model, ff.Int8Config(never_slower=False))
        ff.save_pretrained(model, tmp_path / "layers")
        report = ff.quantize_embeddings_(model)
        ff.save_pretrained(model, tmp_path / "both")
        loaded = ff.load_pretrained_torch(tmp_path / "both")
        assert torch.equal(answers(loaded), answers(model))
        assert torch.equal(answers(copy.deepcopy(loaded)), answers(model))
        before, after = (
            (tmp_path / each / "model.safetensors").stat().st_size for each in ("layers", "both")
        )
        assert abs(before - after - report.bytes_saved) < 512  # names in the header
        versions = {
            each: json.loads((tmp_path / each / "fastformers.json").read_text("utf-8"))["format_version"]
            for each in ("float", "layers", "both")
        }
        assert versions == {"float": 2, "layers": 2, "both": 3}

    def test_models_that_are_not_of_transformers_keep_shared_tables(self, tmp_path: Path) -> None:
        def build() -> nn.ModuleDict:
            table = nn.Embedding(1500, 4)
            return nn.ModuleDict({"a": table, "b": table}).eval()

        model = build()
        ff.quantize_embeddings_(model)
        ff.save_pretrained(model, tmp_path / "saved")
        loaded: Any = ff.load_pretrained_torch(tmp_path / "saved", build())
        assert loaded["a"] is loaded["b"]
        assert torch.equal(loaded["a"].table, model["a"].table)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({WORDS: "bert.pooler"}, "which is no embedding table"),
            ({WORDS: 3}, "is not the name"),
            ({WORDS: "bert.embeddings.position_embeddings"}, "no tensor|has shape|must be"),
            ({}, "must be|no place"),
        ],
    )
    def test_damaged_manifests_are_refused(self, tmp_path: Path, change: dict[str, Any], words: str) -> None:
        model = make()
        ff.quantize_embeddings_(model)
        ff.save_pretrained(model, tmp_path / "saved")
        file = tmp_path / "saved" / "fastformers.json"
        content = json.loads(file.read_text("utf-8"))
        content["embeddings"] = change
        file.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(FormatError, match=words):
            ff.load_pretrained_torch(tmp_path / "saved")

    def test_loading_without_fbgemm_names_the_extra(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = make()
        ff.quantize_embeddings_(model)
        ff.save_pretrained(model, tmp_path / "saved")
        monkeypatch.setitem(sys.modules, "fbgemm_gpu", None)
        with pytest.raises(MissingExtraError, match=r"\[fbgemm\]"):
            ff.load_pretrained_torch(tmp_path / "saved")

    @pytest.mark.parametrize("kind", ["BertModel", "BertForSequenceClassification"])
    def test_the_engines_own_tables_are_as_near_to_float32_as_fbgemms(self, kind: str) -> None:
        model = make(kind)
        mask = torch.ones_like(ids())
        name = "logits" if kind.endswith("Classification") else "last_hidden_state"
        with torch.no_grad():
            wanted = model(ids(), mask)[name]
            config = ff.CompileConfig(int8=None, attention="float32", int8_embeddings=True)
            ours = ff.compile(model, config)(ids(), mask)[name]
            ff.quantize_embeddings_(model)
            theirs = model(ids(), mask)[name]

        def noise(found: Tensor) -> float:
            return float((found - wanted).square().mean().sqrt())

        assert noise(theirs) > 0
        # Steps symmetric about 0 are at most 2 max|x| / (max - min) as wide: 1.14 on average for 64 normal values. Few
        # numbers are compared, so the ratio scatters.
        assert noise(ours) < 2 * noise(theirs)

    def test_compiling_such_a_model_reads_its_tables(self) -> None:
        model = make()
        ff.quantize_embeddings_(model)
        encoder = ff.compile(model, ff.CompileConfig(int8=None))
        # Float32 sums in another order.
        assert torch.allclose(encoder(ids()).logits, answers(model), atol=1e-5)
