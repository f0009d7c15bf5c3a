# SPDX-License-Identifier: MIT
"""A tiny random encoder, and engines over it that are closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from fastformers.benchmarking.random_encoder import random_plan, random_tensors, random_texts, word_tokenizer
from fastformers.encoder_plan import EncoderPlan
from fastformers.kernels import NativeEncoder
from fastformers.runtime.engine import Engine

MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def plan() -> EncoderPlan:
    return random_plan()


@pytest.fixture(scope="session")
def native(plan: EncoderPlan) -> NativeEncoder:
    return NativeEncoder(plan.to_dict(), random_tensors(plan))


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return random_texts(300, 100, seed=3)


@pytest.fixture
def make_engine(native: NativeEncoder, plan: EncoderPlan) -> Iterator[MakeEngine]:
    """Makes engines, over the tiny encoder unless told otherwise."""
    engines: list[Engine] = []

    def make(encoder: NativeEncoder = native, of: EncoderPlan = plan, **options: Any) -> Engine:
        engines.append(Engine(encoder, of, word_tokenizer(), **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close(drain=False)


@pytest.fixture(scope="session")
def slow_plan() -> EncoderPlan:
    return random_plan(layers=4, hidden=512, heads=0, intermediate=2048, max_tokens=2048)


@pytest.fixture(scope="session")
def slow_native(slow_plan: EncoderPlan) -> NativeEncoder:
    """Takes 50 ms and more for its longest text: time enough to meet its instance busy."""
    return NativeEncoder(slow_plan.to_dict(), random_tensors(slow_plan))


@pytest.fixture
def make_slow_engine(
    make_engine: MakeEngine, slow_native: NativeEncoder, slow_plan: EncoderPlan
) -> MakeEngine:
    return partial(make_engine, slow_native, slow_plan)
