# SPDX-License-Identifier: MIT
"""What a ladder is measured with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastformers import kernels
from fastformers.benchmarking.cores import check_cores
from fastformers.benchmarking.cost import checked_utilisation
from fastformers.errors import ConfigError

__all__ = ["LadderSettings"]

#: Where rows are computed -> texts of a request unless told otherwise; 256 was best on the paper's GPU.
_TEXTS_OF_A_REQUEST = {"cpu": 1, "cuda": 256}
_LEAST_ROUNDS = 3
_LEAST_SAMPLE = 8
_LEAST_TEXTS = 2  # how far a sample can be relied on is seen from texts that differ


@dataclass(frozen=True, kw_only=True)
class LadderSettings:
    """How a ladder is measured.

    Attributes:
        rounds: in each of which every row is measured once, at least 3; medians and quartiles are over them.
        threads: of every row that computes one request at a time; ``None`` for one a core.
        instances: of the rows under load, one thread each; ``None`` for one a core.
        device: ``"cpu"``, or ``"cuda"`` for the rows of a GPU: large batches, half precision, no engine.
        batch_size: texts of a request; ``None`` for 1, on a GPU 256.
        padded_length: tokens that the first row fills every text up to; ``None`` for as many as the task cuts texts at,
            which is the least. Not on a GPU.
        baseline_sample: texts that the rows of the uncompressed model are timed on, at least 8; ``None`` for all.
            Not on a GPU.
        most_texts: measure, and score, on an even sample of so many texts, at least 2; ``None`` for all. Texts that are
            answered together, e.g. a question of MultiRC, are taken together: about so many texts then.
        comparisons: also measure the rows beside the ladder, see ``rungs``.
        price: of the machine: a name of ``fastformers cost --list`` or US dollars an hour; ``None`` states no cost.
        utilisation: share of the paid time in which queries are answered, in (0, 1].
        energy: method of :func:`fastformers.benchmarking.energy.energy_meter`; ``"auto"`` on a GPU is ``"nvml"``.
        seed: draws samples and random weights.

    Raises:
        ConfigError: a number is out of range, more instances or threads are asked for than there are cores, or a GPU is
            asked for what only a CPU does.
        DeviceError: ``device`` is ``"cuda"``, and torch cannot use a GPU.
    """

    rounds: int = 5
    threads: int | None = None
    instances: int | None = None
    device: str = "cpu"
    batch_size: int | None = None
    padded_length: int | None = None
    baseline_sample: int | None = None
    most_texts: int | None = None
    comparisons: bool = False
    price: str | float | None = None
    utilisation: float = 1.0
    energy: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks every field."""
        self._check_device()
        if self.batch_size is None:
            object.__setattr__(self, "batch_size", _TEXTS_OF_A_REQUEST[self.device])
        for name, least in (("rounds", _LEAST_ROUNDS), ("batch_size", 1), ("seed", 0)):
            _whole(name, getattr(self, name), least)
        for name, least in (
            ("baseline_sample", _LEAST_SAMPLE),
            ("most_texts", _LEAST_TEXTS),
            ("padded_length", 1),
        ):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), least)
        cores = kernels.default_threads()
        for name in ("threads", "instances"):
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, cores)
                continue
            _whole(name, value, 1)
            check_cores(name, value)
        checked_utilisation(self.utilisation)

    def _check_device(self) -> None:
        if self.device not in _TEXTS_OF_A_REQUEST:
            raise ConfigError(f"device is {self.device!r}; allowed: {', '.join(_TEXTS_OF_A_REQUEST)}")
        if self.device == "cpu":
            return
        for name, instead in (
            ("instances", "a GPU computes one batch after the other"),
            ("baseline_sample", "measure on fewer texts with most_texts"),
            ("padded_length", "texts are filled up to what the task cuts them at"),
        ):
            if getattr(self, name) is not None:
                raise ConfigError(f"{name} is for rows on a CPU: {instead}")
        from fastformers.gpu.devices import check_cuda  # imports torch, which settings for a CPU do not need

        check_cuda()

    @property
    def request_size(self) -> int:
        """Texts of a request, as decided."""
        assert self.batch_size is not None
        return self.batch_size

    def padded_to(self, max_length: int) -> int:
        """Returns the tokens that the first row fills every text up to.

        Args:
            max_length: tokens after which the task cuts texts.
        """
        return max_length if self.padded_length is None else self.padded_length

    @property
    def thread_count(self) -> int:
        """Threads, as decided."""
        assert self.threads is not None
        return self.threads

    @property
    def instance_count(self) -> int:
        """Instances, as decided."""
        assert self.instances is not None
        return self.instances

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        return asdict(self)


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} is {value!r}; allowed: a whole number from {least}")
