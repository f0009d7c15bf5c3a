# SPDX-License-Identifier: MIT
"""``ff.measure``: any callable, engines, models with a tokenizer; what it says, and what it refuses."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

import fastformers as ff
from fastformers.benchmarking import measure as measure_module
from fastformers.benchmarking.measurement import Measurement
from fastformers.benchmarking.random_encoder import random_plan, random_tensors, random_texts, word_tokenizer
from fastformers.benchmarking.subjects import holds_nan
from fastformers.errors import ClosedError, ConfigError, FormatError, NonFiniteError
from fastformers.kernels import NativeEncoder

TEXTS = random_texts(40, 30, seed=1)
QUICK: dict[str, Any] = {"seconds": 0.06, "rounds": 3, "warmup": 0.0, "energy": "off"}


@pytest.fixture
def engine() -> Iterator[ff.Engine]:
    plan = random_plan()
    native = NativeEncoder(plan.to_dict(), random_tensors(plan))
    with ff.Engine(native, plan, word_tokenizer(), instances=2, threads=1) as made:
        yield made


def sleeper(seconds: float) -> Callable[[object], None]:
    return lambda _: time.sleep(seconds)


def test_speed_and_latency_of_a_callable_are_those_it_has() -> None:
    found = ff.measure(sleeper(0.002), TEXTS, price=0.677, **QUICK)
    # Sleeping takes at least as long as asked for; how much longer is the machine's affair, so only one side is sharp.
    assert found.latency_ms.median >= 2.0
    assert found.p99_ms >= found.latency_ms.median
    assert found.queries_per_second.median <= 500
    assert found.usd_per_100m == pytest.approx(  # the formula once more: rounding of floats only
        1e8 / found.queries_per_second.median / 3600 * 0.677, rel=1e-12
    )
    assert found.queries == 3 * found.texts_measured
    assert found.texts == 40


def test_a_list_goes_to_a_callable_when_batches_are_asked_for() -> None:
    seen: list[int] = []

    def run(texts: Sequence[str]) -> None:
        assert isinstance(texts, list)
        seen.append(len(texts))
        time.sleep(0.0005 * len(texts))

    found = ff.measure(run, TEXTS, batch_size=8, **QUICK)
    assert set(seen) == {8, 1}  # batches, and single queries for the latency
    assert found.batch_size == 8
    assert found.latency_ms.count >= 20


def test_an_engine_answers_with_all_instances_at_once(engine: ff.Engine) -> None:
    found = ff.measure(engine, TEXTS, **QUICK)
    assert found.at_once == 2
    assert found.subject == "Engine, 2 instances x 1 thread"
    assert found.own_memory_mb == engine.memory().total_bytes / 1e6
    assert found.peak_memory_mb is not None
    assert found.peak_memory_mb > found.own_memory_mb
    assert "2 at once" in str(found)
    assert ff.measure(engine, TEXTS, batch_size=4, **QUICK).at_once == 1


def test_models_take_texts_through_their_tokenizer() -> None:
    torch = pytest.importorskip("torch", reason="models need the torch extra")
    transformers = pytest.importorskip("transformers", reason="models need the torch extra")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(), pad_token="[PAD]", model_max_length=10**30
    )
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=200,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=16,
        )
    ).eval()
    pairs = [(text, "and another") for text in TEXTS]
    for run in (model, ff.compile(model, ff.CompileConfig(int8=None))):
        assert ff.measure(run, TEXTS, tokenizer=tokenizer, **QUICK).queries_per_second.median > 0
        assert ff.measure(run, pairs, tokenizer=tokenizer, batch_size=4, **QUICK).own_memory_mb
        with pytest.raises(ConfigError, match="pass tokenizer="):
            ff.measure(run, TEXTS, **QUICK)


def test_texts_that_take_too_long_are_sampled_evenly_over_their_lengths() -> None:
    texts = ["x" * length for length in range(1, 101)]
    sample = measure_module._sample(texts, 10, 1)
    assert [len(text) for text in sample] == [6, 16, 26, 36, 46, 56, 66, 76, 86, 96]
    assert measure_module._sample(texts, 250, 1) == texts * 2
    assert len(measure_module._sample(texts, 0, 8)) == 8
    assert len(measure_module._sample(["a"], 10**9, 1)) <= 100_000


def test_marked_texts_and_what_has_no_length_are_sampled_too() -> None:
    marked = [ff.SpanText("it " * words, [(0, 2)]) for words in range(1, 11)]
    assert measure_module._sample(marked, 5, 1) == marked[1::2]
    numbers: list[Any] = list(range(10))
    assert measure_module._sample(numbers, 5, 1) == numbers[1::2]


class Clock:
    """Time that passes only while something is answered: an even or an uneven machine."""

    def __init__(self, steps: Callable[[int], float]) -> None:
        self.now, self.calls, self._steps = 0.0, 0, steps

    def perf_counter(self) -> float:
        return self.now

    def answer(self, _: object) -> None:
        self.now += self._steps(self.calls)
        self.calls += 1


@pytest.mark.parametrize(
    ("steps", "noisy"),
    [
        pytest.param(lambda call: 0.01, False, id="quiet"),
        pytest.param(lambda call: 0.01 * (1 + call // 4 % 3), True, id="uneven"),
    ],
)
def test_a_spread_over_ten_percent_is_repeated_and_marked(
    monkeypatch: pytest.MonkeyPatch, steps: Callable[[int], float], noisy: bool
) -> None:
    clock = Clock(steps)
    monkeypatch.setattr(measure_module, "time", clock)
    found = ff.measure(clock.answer, TEXTS[:4], seconds=0.12, rounds=3, warmup=0.0, energy="off")
    assert (found.repeated, found.noisy) == (noisy, noisy)
    assert ("NOISY" in str(found), found.to_dict()["noisy"]) == (noisy, noisy)
    assert found.queries == 12


def test_the_quieter_of_two_tries_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    warm_up_and_first_try = 3 + 4 + 12
    clock = Clock(lambda call: 0.01 * (1 + (call + 1) // 4 % 3) if call < warm_up_and_first_try else 0.01)
    monkeypatch.setattr(measure_module, "time", clock)
    found = ff.measure(clock.answer, TEXTS[:4], seconds=0.12, rounds=3, warmup=0.0, energy="off")
    assert (found.repeated, found.noisy) == (True, False)
    assert found.queries_per_second.relative < 1e-6  # equal steps, added up in floats


def test_energy_names_its_method() -> None:
    found = ff.measure(sleeper(0.001), TEXTS, **{**QUICK, "energy": "auto"})
    assert found.to_dict()["energy_method"] in ("rapl", "estimate:tdp", "unavailable")
    off = ff.measure(sleeper(0.001), TEXTS, **QUICK)
    assert off.joules_per_100m is None
    assert "energy was not asked for" in str(off)


def test_what_is_saved_is_read_back_equal() -> None:
    found = ff.measure(sleeper(0.001), TEXTS, price="azure:F16s_v2", utilisation=0.5, **QUICK)
    saved = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert saved["schema"] == "fastformers-measurement/1"
    assert saved["usd_per_100m"] == found.usd_per_100m
    assert saved["machine"]["packages"]["numpy"]
    assert Measurement.from_dict(saved) == found


def test_the_text_names_price_date_and_utilisation() -> None:
    text = str(ff.measure(sleeper(0.001), TEXTS, price="F16s_v2", utilisation=0.5, **QUICK))
    assert "USD for 100 million queries at 0.677 USD/h (azure:F16s_v2, 2020-11), 50 % utilised" in text
    assert "p50" in text
    assert "p99" in text


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schema", "fastformers-ladder/1", "schema is"),
        ("queries_per_second", {"median": 1}, "queries_per_second is damaged"),
        ("queries_per_second", None, "queries_per_second is damaged"),
        (
            "queries_per_second",
            {"median": 0.0, "low": 0, "high": 0, "count": 1},
            "queries_per_second.median is 0.0",
        ),
        ("energy", {"joules": 1, "watts": 2}, "energy is damaged"),
        ("utilisation", 0, "utilisation is 0"),
        ("p99_ms", "slow", "p99_ms is 'slow'"),
        ("batch_size", None, "batch_size is None"),
        ("peak_memory_mb", "much", "peak_memory_mb is 'much'"),
        ("latency_ms", {"median": "x", "low": 0, "high": 0, "count": 1}, r"latency_ms\.median is 'x'"),
        ("price", {"name": "a", "usd_per_hour": -1, "date": ""}, r"price\.usd_per_hour is -1"),
        ("machine", "fast", "machine is 'fast'"),
    ],
)
def test_damaged_measurements_are_refused(field: str, value: Any, message: str) -> None:
    saved = ff.measure(sleeper(0.001), TEXTS, **QUICK).to_dict()
    with pytest.raises(FormatError, match=message):
        Measurement.from_dict({**saved, field: value})
    del saved["machine"]
    with pytest.raises(FormatError, match="lacks machine"):
        Measurement.from_dict(saved)


def fails_on_the_third(text: str) -> None:
    if text == TEXTS[2]:
        raise KeyError("word")


def test_a_callable_that_fails_is_named_with_its_text() -> None:
    with pytest.raises(ConfigError, match=rf"run failed on '{TEXTS[2][:20]}.*KeyError: 'word'"):
        ff.measure(fails_on_the_third, TEXTS, **QUICK)


def test_our_own_errors_pass_unchanged(engine: ff.Engine) -> None:
    engine.close()
    with pytest.raises(ClosedError):
        ff.measure(engine, TEXTS, **QUICK)


@pytest.mark.parametrize(
    "answer",
    [math.nan, [1.0, math.nan], {"logits": np.array([[0.5, np.nan]], np.float32)}, (1, {"a": [math.nan]})],
)
def test_answers_that_hold_nan_are_refused(answer: Any) -> None:
    with pytest.raises(NonFiniteError, match="holds NaN"):
        ff.measure(lambda text: answer, TEXTS, **QUICK)


async def later(text: str) -> str:
    return text


@pytest.mark.filterwarnings("ignore:coroutine 'later' was never awaited")
@pytest.mark.parametrize(
    "run",
    [later, lambda text: (letter for letter in text), lambda text: Future[str]()],
    ids=lambda run: run.__name__,
)
def test_the_promise_of_an_answer_is_not_timed(run: Callable[[str], Any]) -> None:
    with pytest.raises(ConfigError, match="has computed nothing yet"):
        ff.measure(run, ["a"], seconds=0.03, rounds=3, warmup=0)


def test_answers_without_nan_are_not_taken_for_it() -> None:
    from fastformers.answers import Prediction

    for answer in (None, "nan", 1, np.array([1, 2]), [Prediction("a", 0.5)], {"x": (0.0,)}):
        assert not holds_nan(answer)
    assert holds_nan([Prediction("a", math.nan)])


@pytest.mark.parametrize(
    ("run", "texts", "options", "message"),
    [
        (len, [], {}, "no texts"),
        (len, "one text", {}, "pass a list"),
        (len, iter(TEXTS), {}, "texts is a list_iterator; pass a list"),
        (len, {"a": "text"}, {}, "texts is a dict; pass a list"),
        (len, None, {}, "texts is a NoneType; pass a list"),
        ("model", TEXTS, {}, "run is 'model'"),
        (".", TEXTS, {"tokenizer": object()}, "tokenizer has no effect"),
        (len, TEXTS, {"rounds": 2}, "rounds is 2"),
        (len, TEXTS, {"batch_size": 0}, "batch_size is 0"),
        (len, TEXTS, {"seconds": math.nan}, "seconds is nan"),
        (len, TEXTS, {"warmup": -1.0}, "warmup is -1.0"),
        (len, TEXTS, {"utilisation": 0.0}, "utilisation is 0.0"),
        (len, TEXTS, {"price": "F16s"}, "azure:F16s_v2"),
        (len, TEXTS, {"energy": "guess"}, "energy method is 'guess'"),
    ],
)
def test_wrong_use_is_refused_before_anything_runs(
    run: Any, texts: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ff.measure(run, texts, **options)


def test_long_texts_are_cut_to_what_the_model_takes_where_the_tokenizer_has_no_limit() -> None:
    pytest.importorskip("torch")
    from tiny_models import word_pieces
    from transformers import RobertaConfig, RobertaModel

    tokenizer = word_pieces(["a", "text"])
    tokenizer.model_max_length = 10**30
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=34, pad_token_id=1, **sizes)
    model = RobertaModel(config).eval()
    found = ff.measure(model, ["a text " * 50], tokenizer=tokenizer, seconds=0.2, warmup=0.0, energy="off")
    assert found.queries
