# SPDX-License-Identifier: MIT
"""``OrtModel`` answers as the torch model does, from one thread or several, and says what is wrong with a folder."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastformers as ff
from fastformers.errors import (
    ClosedError,
    ConfigError,
    DtypeError,
    ForkError,
    FormatError,
    MissingExtraError,
    ShapeError,
    UnsupportedModelError,
)
from fastformers.export.session import session_options
from fastformers.modules.pair_classifier import PairClassifier
from fastformers.modules.span_classifier import SpanClassifier

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

TEXTS = ["the cat sat on the mat", "good dog", "", "who ran because the bank of the river was bad " * 5]
#: Of a description, each of which gave wrong answers or an error of Python's.
DAMAGES: list[tuple[dict[str, Any], str]] = [
    ({"many_labels": "no"}, "many_labels is missing or of another type"),
    ({"max_length": 10**30}, "max_length is missing or of another type"),
    ({"labels": [1, 2, 3]}, "labels is missing or of another type"),
    ({"inputs": [["input_ids"]]}, "inputs is missing or of another type"),
    ({"inputs": ["input_ids"]}, r"inputs are \['input_ids'\], and those of the graph"),
    ({"outputs": ["embedding"]}, r"outputs are \['embedding'\], and those of the graph \['logits'\]"),
]
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


def test_multi_label_models_score_the_sigmoid_wherever_they_run(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    model = make_model("bert", "classification", problem_type="multi_label_classification")
    best = torch_logits(model, tokenizer, ["good dog"])[0].max()
    encoder = ff.compile(model, ff.CompileConfig(int8=None))
    ff.save_pretrained(encoder, tmp_path / "fast", tokenizer=tokenizer)
    ff.export_onnx(model, tmp_path / "onnx", "fp32", tokenizer=tokenizer, check=False)
    with ff.Engine.from_pretrained(tmp_path / "fast") as engine, ff.OrtModel(tmp_path / "onnx") as exported:
        for found in (engine, exported, ff.TorchModel(model, tokenizer)):
            score = found.predict(["good dog"])[0].score
            assert score == pytest.approx(1 / (1 + np.exp(-best)), abs=1e-4)  # the bound of float32 exports


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
    with pytest.raises(ConfigError, match="holds no export"):
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
    for damage, message in DAMAGES:
        description.write_text(json.dumps({**kept, **damage}), encoding="utf-8")
        with pytest.raises(FormatError, match=message):
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
        with pytest.raises(ShapeError, match="input_ids is no array of one shape"):
            model.run([[2, 5, 3], [2, 3]])  # type: ignore[arg-type]
        with pytest.raises(DtypeError, match="or texts to predict"):
            model.run("the cat")  # type: ignore[arg-type]
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


def test_a_runtime_that_is_too_old_for_our_operators_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import onnxruntime

    from fastformers import ort_library

    monkeypatch.setattr(ort_library, "_LIBRARY", tmp_path / "library.so")
    (tmp_path / "library.so").touch()

    class TooOld(onnxruntime.SessionOptions):  # type: ignore[misc]
        def register_custom_ops_library(self, _: str) -> None:
            raise RuntimeError("need ONNX Runtime 1.21 or newer, this is 1.20.1")

    monkeypatch.setattr(onnxruntime, "SessionOptions", TooOld)
    with pytest.raises(MissingExtraError, match=r"this is 1\.20\.1.*pip install 'onnxruntime>=1\.21'"):
        session_options(1, native=True)


@pytest.mark.parametrize("precision", ["fp32", "int8-fastformers"])
@pytest.mark.parametrize("name", ["roberta", "mpnet"])
def test_the_padding_token_inside_a_text_has_torchs_position(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, name: str, precision: Any
) -> None:
    model, texts = make_model(name, "classification"), ["the cat [PAD] sat on", "dog [PAD] [PAD] ran", "dog"]
    assert 1 in tokenizer(texts[0])["input_ids"]  # the padding id of these models, in the middle
    config = ff.CompileConfig(int8=None, attention="float32")
    source = ff.compile(model, config) if precision == "fp32" else ff.compile(model)
    ff.export_onnx(source, tmp_path / "out", precision, tokenizer=tokenizer, check=False)
    wanted = torch_logits(model, tokenizer, texts)
    with ff.OrtModel(tmp_path / "out") as fast:
        got = fast.logits(texts)
    # INT8 weights of random models are this far off; float32 sums in another order by less than 1e-4, the bound of the
    # export's own check, and a wrong position moves float32 logits by more than 1e-2.
    np.testing.assert_allclose(got, wanted, atol=1e-4 if precision == "fp32" else 0.1)
    if precision == "int8-fastformers":
        ff.save_pretrained(source, tmp_path / "fast", tokenizer)
        with ff.Engine.from_pretrained(tmp_path / "fast", instances=1) as engine:
            np.testing.assert_array_equal(got, engine.logits(texts))


def test_one_string_instead_of_a_list_is_refused(export: Export) -> None:
    _, folder = export()
    with ff.OrtModel(folder) as model, pytest.raises(ShapeError, match=r"pass \[text\]"):
        model.predict("the cat")
    with ff.OrtModel(folder) as model, pytest.raises(ShapeError, match=r"pass \[text\]"):
        model.rerank("the cat", "dog")


def test_a_closed_model_with_instances_says_that_it_is_closed(export: Export) -> None:
    _, folder = export()
    model = ff.OrtModel(folder, instances=2)
    model.close()
    with pytest.raises(ClosedError):
        model.predict(["the cat"])


@pytest.mark.parametrize(
    ("inputs", "error", "says"),
    [
        (([[5, -1]],), ShapeError, "input_ids holds -1"),
        (([[5, 1.5]],), DtypeError, "input_ids is float64"),
        (([[5, 6]], [[1, 2]]), ShapeError, "other numbers than 0 and 1"),
        (([[5, 6], [7, 8]], [[1, 1], [0, 0]]), ShapeError, "no token of sequence 1"),
        (([[5, 6, 7]], [[1, 0, 1]]), ShapeError, "inside sequence 0"),
        (([[5, 6]], None, [[0, -1]]), ShapeError, "token_type_ids holds -1"),
    ],
)
def test_numbers_that_stock_operators_would_take_are_refused(
    export: Export, inputs: Any, error: type[Exception], says: str
) -> None:
    _, folder = export()
    with ff.OrtModel(folder) as model, pytest.raises(error, match=says):
        model.run(*inputs)


def test_closing_lets_a_call_in_progress_finish(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = export()
    model = ff.OrtModel(folder, instances=2)
    expected, texts = model.logits(["good dog"] * 200), ["good dog"] * 200
    begun, closing, compute = threading.Event(), threading.Event(), model._computed

    def slow(inputs: Any) -> Any:
        begun.set()
        assert closing.wait(60)
        return compute(inputs)

    monkeypatch.setattr(model, "_computed", slow)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(model.logits, texts)
        assert begun.wait(60)
        end = pool.submit(model.close)
        while not model._closed:
            time.sleep(0.001)
        closing.set()
        np.testing.assert_array_equal(call.result(60), expected)
        end.result(60)


def test_a_forked_child_is_told_that_instances_have_no_threads_there(export: Export) -> None:
    _, folder = export()
    model = ff.OrtModel(folder, instances=2)
    model.logits(["good dog"] * 200)
    child = os.fork()
    if not child:
        try:
            model.logits(["good dog"])
        except ForkError:
            os._exit(0)
        finally:
            os._exit(1)
    end = time.monotonic() + 60
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)


def test_a_model_closed_while_texts_are_tokenized_says_so(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = export()
    model = ff.OrtModel(folder, instances=2)
    assert model._texts is not None
    encode = model._texts.encode
    monkeypatch.setattr(model._texts, "encode", lambda texts: (encode(texts), model.close())[0])
    with pytest.raises(ClosedError, match="closed"):
        model.logits(["good dog"])


@pytest.mark.parametrize("count", ["auto", 1.5, True, 0])
def test_counts_that_are_no_whole_numbers_are_refused(export: Export, count: Any) -> None:
    _, folder = export()
    with pytest.raises(ConfigError, match="whole number from 1 to 1024"):
        ff.OrtModel(folder, instances=count)
    with pytest.raises(ConfigError, match="is not a folder"):
        ff.OrtModel(folder / "none")


@pytest.mark.parametrize("runner", ["OrtModel", "TorchModel"])
@pytest.mark.filterwarnings("ignore:a text of more than 24 tokens")
def test_texts_are_cut_at_the_side_that_transformers_cuts(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, runner: str
) -> None:
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    left = type(tokenizer).from_pretrained(tmp_path / "tokenizer", truncation_side="left")
    model, texts = make_model("bert", "classification"), ["good dog " * 20 + "the bank of the river was bad"]
    ff.export_onnx(model, tmp_path / "out", tokenizer=left, check=False)
    fast = ff.OrtModel(tmp_path / "out") if runner == "OrtModel" else ff.TorchModel(model, left)
    got = fast.logits(texts)
    # Float32 sums in another order, the bound of the export's own check.
    np.testing.assert_allclose(got, torch_logits(model, left, texts), atol=1e-4)


def test_names_of_other_classes_than_the_graph_has_are_not_used(export: Export) -> None:
    _, folder = export()
    path = folder / "model-fp32.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**kept, "labels": ["good"]}), encoding="utf-8")
    with ff.OrtModel(folder) as fast:
        assert fast.labels is None
        assert fast.predict(["good dog"])[0].label.startswith("LABEL_")


@pytest.mark.parametrize("runner", ["Engine", "OrtModel", "TorchModel"])
def test_special_tokens_in_texts_are_text_where_the_tokenizer_says_so(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, runner: str
) -> None:
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    splitting = type(tokenizer).from_pretrained(tmp_path / "tokenizer", split_special_tokens=True)
    model, texts = make_model("bert", "classification"), ["good [SEP] dog", "the cat"]
    config = ff.CompileConfig(int8=None, attention="float32")
    if runner == "Engine":
        encoder = ff.compile(model, config, tokenizer=splitting)
        ff.save_pretrained(encoder, tmp_path / "out", tokenizer=splitting)
        fast: Any = ff.Engine.from_pretrained(tmp_path / "out")
    elif runner == "OrtModel":
        ff.export_onnx(model, tmp_path / "out", tokenizer=splitting, check=False)
        fast = ff.OrtModel(tmp_path / "out")
    else:
        fast = ff.TorchModel(model, splitting)
    wanted = torch_logits(model, splitting, texts)
    # float32 in another order: measured at most 1e-6. Read as a separator, the token changes a logit by 0.6.
    np.testing.assert_allclose(fast.logits(texts), wanted, atol=1e-5)
    assert not np.allclose(torch_logits(model, tokenizer, texts)[0], wanted[0], atol=0.1)


def test_memory_settles_with_batches_of_ever_other_lengths(export: Export) -> None:
    folder = export()[1]
    draw, resident = np.random.default_rng(2), []
    with ff.OrtModel(folder) as fast:
        for number in range(600):
            fast.run(draw.integers(4, 20, (draw.integers(1, 9), draw.integers(1, 25))))
            if number % 200 == 199:
                status = Path("/proc/self/status").read_text(encoding="utf-8")
                resident.append(int(status.split("VmRSS:")[1].split()[0]))
    assert resident[2] - resident[1] < 4096  # kB; arrays of one batch left behind in each would be 20 MB


def test_pairs_for_a_head_that_compares_them_get_the_engines_answers(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    ids = {"separator_id": tokenizer.sep_token_id, "first_id": tokenizer.cls_token_id}
    model = PairClassifier(make_model("bert"), 2, **ids).eval()
    config = ff.CompileConfig(int8=None, attention="float32")
    ff.export_onnx(model, tmp_path / "out", "fp32", tokenizer=tokenizer, config=config)
    native = ff.export_onnx(model, tmp_path / "native", "int8-fastformers", tokenizer=tokenizer)
    assert native.native == "encoder"
    ff.save_pretrained(ff.compile(model, config), tmp_path / "engine", tokenizer)
    texts: list[Any] = [("the cat sat", "on the mat"), ("good dog", "who ran"), ("the dog", "the dog")]
    with (
        ff.OrtModel(tmp_path / "out") as found,
        ff.OrtModel(tmp_path / "native") as own,
        ff.Engine.from_pretrained(tmp_path / "engine") as engine,
    ):
        wanted = engine.logits(texts)
        np.testing.assert_allclose(found.logits(texts), wanted, atol=1e-5)  # 4.8e-7 of logits up to 4.9
        np.testing.assert_allclose(own.logits(texts), wanted, atol=0.05)  # 8 bits: 0.011 of 4.9 when measured
        for one in (found, own):
            with pytest.raises(ShapeError, match="text 0 is a single string"):
                one.predict(["good dog"])
