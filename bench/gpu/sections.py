# SPDX-License-Identifier: MIT
"""The sections of the run: each gives rows, and a row that fails gives its reason and stops nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

import fastformers as ff
from bench.gpu.forms import FORMS, precision_of
from bench.gpu.sizes import Sizes, texts_of
from fastformers.benchmarking.demo_models import find_model
from fastformers.benchmarking.ladder import forms as ladder_forms
from fastformers.benchmarking.ladder.preset import systems_of_shapes
from fastformers.benchmarking.ladder.run import climb
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.gpu.agreement import compare_with_float32
from fastformers.measuring import interleave, paired_ratio, spread
from fastformers.quantization.inputs import bundled_texts
from fastformers.tokenization import TokenizedText

Row = dict[str, Any]
Tell = Callable[[str], None]

#: Interquartile range over the rounds, divided by the median, from which a row is marked.
NOISY = 0.10
#: A table of fewer rounds says nothing of how far its readings spread.
LEAST_ROUNDS = 3
#: Passes of the ladder over its texts, at most: one to warm up, three rounds, and those once more. All rows of a pass
#: together take about two and a half times as long as the padded one.
LADDER_PASSES = 7 * 2.5


@dataclass(frozen=True)
class Bench:
    """What sections share.

    Attributes:
        device: where models run.
        sizes: of everything.
        models: role -> float32 model on the device; the first of each role in the table of shapes.
        tokenizer: of all models.
        texts: log-normal lengths.
        in_time: whether there is time left for something that takes so many seconds.
        tell: takes a line.
    """

    device: torch.device
    sizes: Sizes
    models: Mapping[str, nn.Module]
    tokenizer: Any
    texts: Sequence[str]
    in_time: Callable[[float], bool]
    tell: Tell


@dataclass(frozen=True)
class Contestant:
    """A form of a model, and how its batches are made."""

    form: str
    model: str
    config: ff.TorchConfig


def precisions(bench: Bench) -> Iterator[Row]:
    """Every form of the uncompressed model at fixed lengths, no padding: token ids in, logits out."""
    yield from _precisions(bench, _forms_of("precisions"))


def compiled(bench: Bench) -> Iterator[Row]:
    """The same for the forms that have to be compiled, beside float32."""
    for name in _forms_of("compiled"):
        yield from _precisions(bench, [next(iter(FORMS)), name], seconds=90)


def _forms_of(section: str) -> list[str]:
    return [name for name, form in FORMS.items() if form.section == section]


def _precisions(bench: Bench, forms: Sequence[str], seconds: float = 15) -> Iterator[Row]:
    for length in bench.sizes.lengths:
        tokens = _ids(bench.sizes.batch * bench.sizes.batches, length)
        config = ff.TorchConfig(batch_size=bench.sizes.batch, max_length=length)
        contestants = {form: Contestant(form, "teacher", config) for form in forms}
        yield from _beside_each_other(bench, f"{length} tokens", contestants, tokens, seconds)


def padding(bench: Bench) -> Iterator[Row]:
    """Padded, dynamic and bucketed batches of texts of mixed lengths in half; the ladder has them in float32."""
    modes = {"padded": "fixed", "dynamic length": "longest", "similar lengths together": "buckets"}
    contestants = {
        f"half, {name}": Contestant("half", "teacher", _mixed(bench, padding=mode))
        for name, mode in modes.items()
    }
    yield from _beside_each_other(bench, "mixed lengths", contestants, None, 20)


def shapes(bench: Bench) -> Iterator[Row]:
    """The small models in half: filled up to multiples of 8 or as they are, and replayed."""
    for role in ("student", "pruned"):
        contestants = {
            f"{role}, {form}": Contestant(form, role, _mixed(bench))
            for form in ("float32", "half", "half, not filled up", "half, CUDA graphs")
        }
        yield from _beside_each_other(bench, "mixed lengths", contestants, None, 20)


def ladder(bench: Bench) -> Iterator[Row]:
    """The ladder of the paper's shapes, from text to answer: ``fastformers ladder --preset table3 --device cuda``."""
    on_gpu = bench.device.type == "cuda"
    most = texts_in_time(bench.in_time, len(bench.texts), bench.sizes.batch, _seconds_of_padded_batch(bench))
    if most == 0:
        yield {"row": "ladder", "of": "mixed lengths", "not_measured": "no time was left"}
        return
    settings = LadderSettings(
        device=bench.device.type,
        rounds=LEAST_ROUNDS,
        batch_size=bench.sizes.batch,
        most_texts=most if most < len(bench.texts) else None,
        comparisons=True,
        energy="auto" if on_gpu else "off",
    )
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.txt"
        texts.write_text("\n".join(bench.texts), encoding="utf-8")
        systems = systems_of_shapes(bench.sizes.table, texts)
        form = ladder_forms.FORMS["cuda"]
        with precision_of(FORMS["float32"]):  # an environment may have switched TF32 on
            report = climb(systems, Path(folder) / "out", settings, tell=bench.tell, form=form)
        yield {"section": "ladder", "ladder": report.to_dict()}


def fidelity(bench: Bench) -> Iterator[Row]:
    """Half against float32 with real weights (MiniLM, six layers), on the texts that come with the package."""
    folder = find_model()
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval().float().to(bench.device)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    texts = bundled_texts()[: bench.sizes.texts]
    found = compare_with_float32(model, ff.to_fp16(model), tokenizer, texts)
    yield {"section": "fidelity", "row": "MiniLM in half", **found.to_dict()}


#: In the order of importance, for time may run out.
SECTIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "precisions": precisions,
    "ladder": ladder,
    "fidelity": fidelity,
    "padding": padding,
    "shapes": shapes,
    "compiled": compiled,
}


def _beside_each_other(
    bench: Bench,
    of: str,
    contestants: Mapping[str, Contestant],
    tokens: Sequence[TokenizedText] | None,
    seconds: float,
) -> Iterator[Row]:
    """Rows of contestants that answer the same texts in interleaved rounds, each compared with the first."""
    running: dict[str, ff.TorchModel] = {}
    answers: dict[str, Any] = {}
    of_a_round = 0.0
    for name, contestant in contestants.items():
        if not bench.in_time(seconds + LEAST_ROUNDS * of_a_round):  # what is ready must still be measured
            yield {"row": name, "of": of, "not_measured": "no time was left"}
            continue
        bench.tell(f"preparing {name}, {of}")
        try:
            model = _opened(bench, contestant)
            given = model.encode(bench.texts) if tokens is None else tokens
            with precision_of(FORMS[contestant.form]):
                # The second call finds memory, kernels and recordings there.
                answers[name] = np.asarray(model.logits_of_tokens(given))
            of_a_round += _seconds(model, given, contestant)
            running[name] = model
        except Exception as error:  # an option that this torch or GPU lacks must not cost the other rows
            yield {"row": name, "of": of, "not_measured": f"{type(error).__name__}: {error}".splitlines()[0]}
    rounds = rounds_in_time(bench.in_time, bench.sizes.rounds, of_a_round)
    if rounds == 0:
        yield from ({"row": name, "of": of, "not_measured": "no time was left"} for name in running)
        return
    given = {
        name: model.encode(bench.texts) if tokens is None else list(tokens) for name, model in running.items()
    }
    taken = interleave(
        {
            name: lambda _, name=name: _seconds(
                running[name], given[name], contestants[name]
            )
            for name in running
        },
        rounds,
    )  # fmt: skip
    first = next(iter(running), None)
    for name, model in running.items():
        assert first is not None
        speed = spread([len(given[name]) / value for value in taken[name]])
        yield {
            "row": name,
            "of": of,
            "compared_with": first,
            "texts_per_second": speed.as_dict(),
            "speedup": paired_ratio(taken[first], taken[name]).as_dict(),
            "noisy": speed.relative > NOISY,
            "memory_mb": model.memory_bytes / 1e6,
            "padding_share": model.padding_share(bench.texts) if tokens is None else 0.0,
            "largest_difference": float(np.abs(answers[name] - answers[first]).max()),
            "changed_answers": float((answers[name].argmax(1) != answers[first].argmax(1)).mean()),
            "facts": model.facts(),
        }


def rounds_in_time(in_time: Callable[[float], bool], most: int, seconds: float) -> int:
    """Rounds of so many seconds that there is time for, at most ``most``; 0 where there is none for the least."""
    return next((count for count in range(most, LEAST_ROUNDS - 1, -1) if in_time(count * seconds)), 0)


def texts_in_time(in_time: Callable[[float], bool], texts: int, batch: int, seconds: float) -> int:
    """Texts of a ladder that there is time for: all, or whole batches; 0 where there is none for one.

    Args:
        in_time: whether there is time left for something that takes so many seconds.
        texts: that there are.
        batch: texts of a batch.
        seconds: of a padded batch in float32.
    """
    batches = range(-(-texts // batch), 0, -1)
    fitting = next((count for count in batches if in_time(LADDER_PASSES * count * seconds)), 0)
    return min(texts, fitting * batch)


def _seconds_of_padded_batch(bench: Bench) -> float:
    contestant = Contestant(next(iter(FORMS)), "teacher", _mixed(bench, padding="fixed"))
    model = _opened(bench, contestant)
    given = model.encode(bench.texts[: bench.sizes.batch])
    return [_seconds(model, given, contestant) for _ in range(2)][-1]


def _opened(bench: Bench, contestant: Contestant) -> ff.TorchModel:
    form = FORMS[contestant.form]
    model = form.make(bench.models[contestant.model])
    return ff.TorchModel(model, bench.tokenizer, form.settings(contestant.config))


def _seconds(model: ff.TorchModel, given: Sequence[TokenizedText], contestant: Contestant) -> float:
    """Seconds of all texts, token ids in, logits on the host."""
    with precision_of(FORMS[contestant.form]):
        start = time.perf_counter()
        model.logits_of_tokens(given)
        return time.perf_counter() - start


def _mixed(bench: Bench, **fields: Any) -> ff.TorchConfig:
    return ff.TorchConfig(batch_size=bench.sizes.batch, max_length=bench.sizes.table["max_length"], **fields)


def _ids(count: int, length: int) -> list[TokenizedText]:
    """Random words of MiniLM's vocabulary, all of one length."""
    draw = np.random.default_rng(0)
    types = np.zeros(length, np.int32)
    return [TokenizedText(row, types) for row in draw.integers(1000, 30000, (count, length), np.int32)]


def make_bench(device: torch.device, sizes: Sizes, in_time: Callable[[float], bool], tell: Tell) -> Bench:
    """Makes the models of a run, with random weights, on the device."""
    texts = texts_of(sizes)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.txt"
        file.write_text("\n".join(texts), encoding="utf-8")
        systems = systems_of_shapes(sizes.table, file)
    roles = {"teacher": systems.teacher, "student": systems.students[0], "pruned": systems.pruned[-1]}
    opened = {role: model.open() for role, model in roles.items()}
    models = {role: each.model.to(device) for role, each in opened.items()}
    return Bench(device, sizes, models, opened["teacher"].tokenizer, texts, in_time, tell)
