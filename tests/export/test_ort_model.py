# SPDX-License-Identifier: MIT
"""``OrtModel`` answers as the torch model does, from one thread or several, and says what is wrong with a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastformers as ff
from fastformers.errors import (
    ClosedError,
    ConfigError,
    FormatError,
    MissingExtraError,
    ShapeError,
    UnsupportedModelError,
)
from fastformers.modules.span_classifier import SpanClassifier

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

TEXTS = ["the cat sat on the mat", "good dog", "", "who ran because the bank of the river was bad " * 5]
Export = Callable[..., tuple[Any, Path]]


@pytest.fixture
def export(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> Export:
    def export(head: str = "classification", precision: Any = "fp32", **named: Any) -> tuple[Any, Path]:
        model = make_model("bert", head)
        ff.export_onnx(model, tmp_path / "out", precision, tokenizer=tokenizer, check=False, **named)
        return model, tmp_path / "out"

    return export


def torch_logits(model: Any, tokenizer: Any, texts: list[Any]) -> list[Any]:
    with torch.no_grad():
        return [
            model(
                **tokenizer(
                    *([text] if isinstance(text, str) else text), return_tensors="pt", truncation=True
                )
            )
            .logits[0]
            .numpy()
            for text in texts
        ]


@pytest.mark.parametrize("instances", [1, 3])
@pytest.mark.filterwarnings("ignore:a text of more than 24 tokens")
def test_texts_of_any_length_get_torchs_logits(export: Export, tokenizer: Any, instances: int) -> None:
    model, folder = export()
    texts: list[Any] = [*TEXTS * 12, ("the cat", "who ran")]
    with ff.OrtModel(folder, instances=instances) as found:
        logits = found.logits(texts)
        answers = found.predict(texts)
    wanted = np.stack(torch_logits(model, tokenizer, texts))
    np.testing.assert_allclose(logits, wanted, atol=1e-4)
    assert [answer.label for answer in answers] == [f"LABEL_{best}" for best in wanted.argmax(1)]


@pytest.mark.filterwarnings("ignore:a text of more than 24 tokens")
def test_token_classifiers_give_a_row_for_each_token(export: Export, tokenizer: Any) -> None:
    model, folder = export("tokens")
    with ff.OrtModel(folder) as found:
        for one, wanted in zip(found.logits(TEXTS), torch_logits(model, tokenizer, TEXTS), strict=True):
            np.testing.assert_allclose(one, wanted, atol=1e-4)
        with pytest.raises(UnsupportedModelError, match="for each token"):
            found.predict(TEXTS)
        with pytest.raises(UnsupportedModelError, match="no sentence embedding"):
            found.embed(TEXTS)


@pytest.mark.filterwarnings("ignore:a text of more than 24 tokens")
def test_embeddings_and_rankings_agree_with_the_engine(
    export: Export, tokenizer: Any, tmp_path: Path
) -> None:
    config = ff.CompileConfig(int8=None, attention="float32", pooling="mean", normalize=True)
    model, folder = export("base", config=config)
    ff.save_pretrained(ff.compile(model, config), tmp_path / "engine", tokenizer)
    with ff.OrtModel(folder) as found, ff.Engine.from_pretrained(tmp_path / "engine") as engine:
        np.testing.assert_allclose(found.embed(TEXTS), engine.embed(TEXTS), atol=1e-5)
        ranked, wanted = found.rerank("the cat", TEXTS), engine.rerank("the cat", TEXTS)
    assert [each.doc for each in ranked] == [each.doc for each in wanted]
    assert [each.score for each in ranked] == pytest.approx([each.score for each in wanted], abs=1e-5)


@pytest.mark.parametrize("instances", [1, 2])
def test_texts_with_marked_spans_get_the_engines_answers(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, instances: int
) -> None:
    model = SpanClassifier(make_model("bert"), 2, 3, 0.0, "zero").eval()
    config = ff.CompileConfig(int8=None, attention="float32")
    ff.export_onnx(model, tmp_path / "out", "fp32", tokenizer=tokenizer, config=config)
    ff.save_pretrained(ff.compile(model, config), tmp_path / "engine", tokenizer)
    texts: list[Any] = [
        ff.SpanText("the cat sat on the mat", [(4, 7), (19, 22)]),
        ff.SpanText("good dog", [(0, 4), (2, 7)], "who ran", span_texts=(0, 1)),
    ] * 20
    with (
        ff.OrtModel(tmp_path / "out", instances=instances) as found,
        ff.Engine.from_pretrained(tmp_path / "engine") as engine,
    ):
        # Sums in another order.
        np.testing.assert_allclose(found.logits(texts), engine.logits(texts), atol=1e-5)
        assert [each.label for each in found.predict(texts)] == [each.label for each in engine.predict(texts)]
        with pytest.raises(ShapeError, match="reads 2 marked spans of each text"):
            found.predict(["good dog"])
        with pytest.raises(UnsupportedModelError, match="marked spans"):
            found.rerank("cat", ["dog"])


def test_ranking_is_refused_where_classes_say_nothing_of_relevance(export: Export) -> None:
    _, folder = export()  # five classes
    with ff.OrtModel(folder) as model, pytest.raises(UnsupportedModelError, match="no sentence embedding"):
        model.rerank("cat", ["dog", "mat"])


def test_no_texts_are_no_answers(export: Export) -> None:
    _, folder = export()
    with ff.OrtModel(folder) as model:
        assert model.predict([]) == []
        assert model.rerank("cat", []) == []
        assert len(model.logits([])) == 0


def test_a_folder_without_the_graph_says_what_it_holds(
    export: Export, tokenizer: Any, tmp_path: Path
) -> None:
    model, folder = export()
    with pytest.raises(ConfigError, match="no export in 'int8'; it holds: fp32"):
        ff.OrtModel(folder, "int8")
    ff.export_onnx(model, folder, "fp16", tokenizer=tokenizer, check=False)
    with pytest.raises(ConfigError, match="holds these precisions: fp16, fp32"):
        ff.OrtModel(folder)
    with pytest.raises(ConfigError, match="holds these precisions: none"):
        ff.OrtModel(tmp_path)


def test_damaged_files_are_refused(export: Export) -> None:
    _, folder = export()
    graph, description = folder / "model-fp32.onnx", folder / "model-fp32.json"
    whole = graph.read_bytes()
    graph.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"model-fp32.onnx is not an ONNX file, or damaged"):
        ff.OrtModel(folder)
    graph.write_bytes(whole)
    kept = json.loads(description.read_text(encoding="utf-8"))
    description.write_text(json.dumps({**kept, "schema": "fastformers-onnx/9"}), encoding="utf-8")
    with pytest.raises(FormatError, match="fastformers-onnx/9"):
        ff.OrtModel(folder)
    description.write_text(json.dumps({**kept, "outputs": "logits"}), encoding="utf-8")
    with pytest.raises(FormatError, match="outputs is missing or of another type"):
        ff.OrtModel(folder)
    description.unlink()
    with pytest.raises(FormatError, match="is missing: export the model again"):
        ff.OrtModel(folder)
    description.write_text(json.dumps(kept), encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FormatError, match="refused by tokenizers"):
        ff.OrtModel(folder)
    (folder / "tokenizer.json").unlink()
    with ff.OrtModel(folder) as model, pytest.raises(ConfigError, match="export with tokenizer="):
        model.predict(["cat"])


def test_weights_in_other_files_are_refused(export: Export) -> None:
    import onnx

    _, folder = export()
    graph = folder / "model-fp32.onnx"
    onnx.save(
        onnx.load(graph), graph, save_as_external_data=True, location="weights.bin", size_threshold=1024
    )
    with pytest.raises(FormatError, match=r"in another file, weights\.bin: only self-contained files"):
        ff.OrtModel(folder)


def test_batches_that_do_not_fit_are_refused(export: Export) -> None:
    _, folder = export()
    with ff.OrtModel(folder) as model:
        with pytest.raises(ShapeError, match="one shape"):
            model.run(np.ones((2, 3)), np.ones((2, 4)))
        with pytest.raises(ShapeError, match="cannot compute this batch"):
            model.run(np.full((1, 3), 10_000))
    with pytest.raises(ClosedError):
        model.run(np.ones((2, 3)))
    for name in ("threads", "instances"):
        with pytest.raises(ConfigError, match=f"{name} is 0"):
            ff.OrtModel(folder, **{name: 0})  # type: ignore[arg-type]


def test_a_thread_count_that_has_no_effect_is_refused(export: Export) -> None:
    try:
        ff.ort_library_path()
    except MissingExtraError as reason:
        pytest.skip(str(reason))
    _, folder = export(precision="int8-fastformers")
    with pytest.raises(ConfigError, match=r"threads=1 has no effect .* set FASTFORMERS_NUM_THREADS"):
        ff.OrtModel(folder, threads=1)
    with ff.OrtModel(folder) as model:
        assert model.threads == ff.kernels.default_threads()


def test_a_runtime_that_is_too_old_is_told(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    _, folder = export()
    monkeypatch.setattr(onnxruntime, "__version__", "1.16.3")
    with pytest.raises(MissingExtraError, match=r"1\.16\.3 is too old"):
        ff.OrtModel(folder)
