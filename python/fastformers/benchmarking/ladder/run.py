# SPDX-License-Identifier: MIT
"""``ladder``: what each technique adds, measured beside each other on one task, with cost and energy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fastformers import __version__, kernels
from fastformers._optional import require
from fastformers.benchmarking.energy import energy_meter
from fastformers.benchmarking.ladder.forms import FORMS, Form
from fastformers.benchmarking.ladder.journal import Journal
from fastformers.benchmarking.ladder.models import LadderModels
from fastformers.benchmarking.ladder.outputs import write_outputs
from fastformers.benchmarking.ladder.preset import preset_systems
from fastformers.benchmarking.ladder.queries import deal, queries_of, sample_by_length
from fastformers.benchmarking.ladder.report import LadderReport, LadderRow
from fastformers.benchmarking.ladder.rounds import Plan, Taken, take_rounds
from fastformers.benchmarking.ladder.rungs import Rung
from fastformers.benchmarking.ladder.scores import Scores
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.benchmarking.ladder.summary import Facts, row_of
from fastformers.benchmarking.ladder.systems import Systems, folder_systems, recipe_systems
from fastformers.benchmarking.ladder.ways import WAYS, Contestant, open_contestant
from fastformers.benchmarking.machine import machine_facts
from fastformers.benchmarking.price_table import Price, price_of
from fastformers.benchmarking.subjects import model_tokens
from fastformers.errors import ConfigError
from fastformers.files.digests import sha256_of
from fastformers.gpu.devices import device_facts
from fastformers.measuring import percentile
from fastformers.recipes.model_folder import OpenedModel

__all__ = ["climb", "ladder", "systems_of"]

Tell = Callable[[str], None]


def ladder(
    output: str | Path,
    *,
    recipe: str | Path | None = None,
    teacher: str | Path | None = None,
    students: Sequence[str | Path] = (),
    pruned: Sequence[str | Path] = (),
    preset: str | None = None,
    data: str | Path | None = None,
    settings: LadderSettings | None = None,
    overwrite: bool = False,
    tell: Tell = print,
) -> LadderReport:
    """Measures step by step what each technique adds, and writes tables and pictures of it.

    Rows: the uncompressed model in PyTorch, padded to a fixed length; the same on the tokens that texts have; each
    student; the last student compiled; the same in several instances; each pruned student. With
    ``LadderSettings(device="cuda")``, in batches of 256: padded; dynamic length; texts of similar length together; each
    student; the last student in half; each pruned student in half. Models come from one of ``recipe``, ``teacher`` with
    ``students``, and ``preset``.

    Args:
        output: folder of results; made if need be. A run that was interrupted goes on there.
        recipe: output folder of a recipe that ran to its end.
        teacher: folder of the uncompressed model.
        students: folders of smaller ones.
        pruned: folders of pruned students.
        preset: ``"table3"``: the shapes of the paper's Table 3 with random weights; no scores then.
        data: folder of the task's data; of a preset also a text file, one text a line.
        settings: how it is measured.
        overwrite: throw readings of another ladder in ``output`` away.
        tell: takes one line at a time while it runs.

    Returns:
        The report, also saved as ``ladder.json``, ``.csv``, ``.md``, ``.html``, ``.png`` and ``.svg``.

    Raises:
        ConfigError: models or data are missing, come from two places, or do not fit each other.
        FormatError: a file is damaged.
        MissingExtraError: the extra ``train`` is not installed.

    Example:
        >>> report = ff.ladder("out", preset="table3", data="superglue")  # doctest: +SKIP
        >>> report.rows[-1].total_speedup.median  # doctest: +SKIP
    """
    require("transformers", "train", "the ladder")
    chosen = settings or LadderSettings()
    systems = systems_of(
        recipe=recipe,
        teacher=teacher,
        students=students,
        pruned=pruned,
        preset=preset,
        data=data,
        seed=chosen.seed,
    )
    return climb(systems, output, chosen, overwrite=overwrite, tell=tell)


def systems_of(
    *,
    recipe: str | Path | None = None,
    teacher: str | Path | None = None,
    students: Sequence[str | Path] = (),
    pruned: Sequence[str | Path] = (),
    preset: str | None = None,
    data: str | Path | None = None,
    seed: int = 0,
) -> Systems:
    """Finds the models of a ladder; arguments and errors as :func:`ladder`."""
    sources = {"recipe": recipe, "teacher": teacher, "preset": preset}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        found = f", not {' and '.join(given)} together" if given else ""
        raise ConfigError(f"a ladder needs one of recipe, teacher (with students) and preset{found}")
    if teacher is None and (students or pruned):
        raise ConfigError(f"students and pruned go with teacher, not with {given[0]}")
    if data is None:
        raise ConfigError("a ladder needs data to answer: the folder of the task's data")
    if recipe is not None:
        return recipe_systems(recipe, data)
    if teacher is not None:
        return folder_systems(teacher, students, pruned, data)
    return preset_systems(str(preset), data, seed=seed)


def climb(
    systems: Systems,
    output: str | Path,
    settings: LadderSettings,
    *,
    overwrite: bool = False,
    tell: Tell = print,
    form: Form | None = None,
) -> LadderReport:
    """Measures a ladder of given models; see :func:`ladder`.

    Args:
        systems: the models.
        output: folder of results.
        settings: how it is measured.
        overwrite: throw readings of another ladder in ``output`` away.
        tell: takes one line at a time.
        form: which rows; ``None`` for those of the settings' device. Those of a GPU can be run on a CPU, for trials.
    """
    price = None if settings.price is None else price_of(settings.price)
    energy_meter(settings.energy)  # told now if there is no such method, not when all models are compiled
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    models = LadderModels(systems, folder / "models")
    run = _Run(systems, settings, models, form or FORMS[settings.device])
    journal = Journal(
        folder / "rounds.jsonl", run.key, [rung.name for rung in run.all_rungs], overwrite=overwrite
    )
    tell(f"{systems.title}: {len(run.queries):,} texts, {len(run.all_rungs)} rows, {settings.rounds} rounds")
    no_energy = _why_no_energy(run.plan.energy)
    if no_energy:
        tell(no_energy)
    with ExitStack() as stack:
        stack.enter_context(_threads(settings.thread_count))
        contestants: dict[str, Contestant] = {}
        for rung in run.all_rungs:
            tell(f"preparing: {rung.name}")
            contestants[rung.name] = open_contestant(rung, models, settings, stack)
        taken = take_rounds(contestants, run.plan, journal, tell)
        memory = {name: contestant.memory_mb() for name, contestant in contestants.items()}
        scores = run.scores(contestants, folder, tell)
    report = run.report(taken, memory, scores, price, no_energy)
    for note in write_outputs(report, folder):
        tell(note)
    return report


class _Run:
    """What is measured, decided before anything is."""

    def __init__(self, systems: Systems, settings: LadderSettings, models: LadderModels, form: Form) -> None:
        self._systems, self._settings, self._form = systems, settings, form
        teacher = models.opened(systems.teacher)
        encoded = teacher.encode(systems.examples)
        self.max_length = teacher.required_task().max_length
        self._check_padded_length(teacher)
        self._cut = encoded.truncated
        self.queries = queries_of(
            encoded.examples, encoded.lengths, systems.task, settings.most_texts, settings.seed
        )
        self.rungs = form.rungs(systems, settings, settings.padded_to(self.max_length))
        beside = form.comparisons(systems, settings, self.rungs) if settings.comparisons else []
        self.beside = [rung for rung in beside if WAYS[rung.way].covers(systems, settings)]
        self.all_rungs = [*self.rungs, *self.beside]
        self._shares = {rung.name: self._share(rung) for rung in self.all_rungs}
        self._identities = {rung.name: WAYS[rung.way].identity(models, rung.model) for rung in self.all_rungs}

    def _check_padded_length(self, teacher: OpenedModel) -> None:
        # Not the tokenizer's limit, which is where the task cuts texts: what is filled up has been cut before.
        padded, most = self._settings.padded_length, model_tokens(teacher.model) or self.max_length
        if padded is not None and not self.max_length <= padded <= most:
            raise ConfigError(
                f"padded_length is {padded}; allowed: from {self.max_length}, where the task cuts texts, to {most}, "
                "the longest that the uncompressed model takes"
            )

    def _share(self, rung: Rung) -> list[list[int]]:
        """Indices of the texts that a row answers in each round."""
        lengths, sample = self.queries.lengths, self._settings.baseline_sample
        count = min(sample, len(lengths)) if rung.slow and sample is not None else len(lengths)
        settings = self._settings
        return deal(sample_by_length(lengths, count, settings.seed), settings.rounds, settings.request_size)

    @property
    def plan(self) -> Plan:
        texts = self.queries.texts
        shares = {
            name: [[texts[index] for index in of_round] for of_round in rounds]
            for name, rounds in self._shares.items()
        }
        settings = self._settings
        on_gpu = settings.device == "cuda" and settings.energy == "auto"
        return Plan(shares, settings.rounds, "nvml" if on_gpu else settings.energy)

    @property
    def data_key(self) -> str:
        """Names the texts and their labels."""
        return sha256_of(
            repr([(each.text, each.text_pair, each.label) for each in self.queries.examples]).encode()
        )

    @property
    def key(self) -> str:
        """Names everything that a reading depends on."""
        machine = machine_facts()
        assert machine.cpu is not None
        priced = ("price", "utilisation")
        facts = {
            "rows": [[rung.name, rung.way, self._identities[rung.name]] for rung in self.all_rungs],
            "data": self.data_key,
            "settings": {
                name: value for name, value in self._settings.to_dict().items() if name not in priced
            },
            "machine": [machine.cpu.model, machine.cpu.active_isa, machine.environment, self._gpu],
            "packages": [__version__, machine.packages["torch"], machine.packages["transformers"]],
        }
        return sha256_of(json.dumps(facts, sort_keys=True).encode())

    @property
    def _gpu(self) -> dict[str, Any] | None:
        """Facts of the GPU that rows are computed on; ``None`` on a CPU."""
        if self._settings.device != "cuda":
            return None
        import torch

        return device_facts(torch.device("cuda"))

    def scores(
        self, contestants: Mapping[str, Contestant], folder: Path, tell: Tell
    ) -> dict[str, float | None]:
        if not self._systems.trained:
            return dict.fromkeys(contestants)
        tell(f"scoring on {len(self.queries):,} examples")
        scores = Scores(folder, self.queries.examples, self.data_key)
        return {
            rung.name: scores.of(rung, contestants[rung.name], self._identities[rung.name])
            for rung in self.all_rungs
        }

    def report(
        self,
        taken: Taken,
        memory: Mapping[str, float],
        scores: Mapping[str, float | None],
        price: Price | None,
        no_energy: str,
    ) -> LadderReport:
        settings, systems = self._settings, self._systems
        task = systems.task
        published = systems.paper if self._form.published else ()
        paper = dict(zip((rung.name for rung in self.rungs), published, strict=False))

        def rows(rungs: Sequence[Rung]) -> tuple[LadderRow, ...]:
            return tuple(
                row_of(
                    rung,
                    taken.readings,
                    self.rungs[0].name,
                    self._facts(rung, memory, scores, paper),
                    price,
                    settings.utilisation,
                )
                for rung in rungs
            )

        return LadderReport(
            title=systems.title,
            task=None if task is None else task.name,
            metric=task.main_metric if task is not None and systems.trained else None,
            texts=self.queries.total,
            tokens={**_lengths_in_words(self.queries.lengths), "cut": self._cut},
            method=self._form.method.format(
                batch=settings.batch_size, s="s"[: settings.batch_size != 1], rounds=settings.rounds
            )
            + (f" {no_energy}" if no_energy else ""),
            settings={**settings.to_dict(), "max_length": self.max_length},
            machine=machine_facts().to_dict() | ({} if self._gpu is None else {"gpu": self._gpu}),
            price=price,
            utilisation=settings.utilisation,
            repeated=taken.repeated,
            rows=rows(self.rungs),
            comparisons=rows(self.beside),
        )

    def _facts(
        self,
        rung: Rung,
        memory: Mapping[str, float],
        scores: Mapping[str, float | None],
        paper: Mapping[str, float],
    ) -> Facts:
        shares = self._shares[rung.name]
        return Facts(
            kind=WAYS[rung.way].kind,
            score=scores[rung.name],
            memory_mb=memory[rung.name],
            sample=len({index for of_round in shares for index in of_round}),
            texts=self.queries.total,
            timed=[]
            if WAYS[rung.way].kind == "batches"
            else [[(self.queries.lengths[index], index) for index in of_round] for of_round in shares],
            paper_speedup=paper.get(rung.name),
        )


def _why_no_energy(method: str) -> str:
    """Says why energy cannot be read here, and what to do; empty where it can, or was not asked for."""
    with energy_meter(method) as meter:
        pass
    if method == "off" or meter.reading.joules is not None:
        return ""
    return f"Energy is {meter.reading.method}: {meter.reading.detail}."


def _lengths_in_words(lengths: Sequence[int]) -> dict[str, float]:
    return {
        "shortest": min(lengths),
        "median": percentile(lengths, 50),
        "mean": sum(lengths) / len(lengths),
        "longest": max(lengths),
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Gives torch and our own calls so many threads, inside the block."""
    import torch

    of_torch, ours = torch.get_num_threads(), kernels.num_threads()
    torch.set_num_threads(count)
    kernels.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(of_torch)
        kernels.set_num_threads(ours)
