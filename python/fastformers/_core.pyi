"""Types of the compiled core. Written by hand, verified against the binary by ``mypy.stubtest`` in CI.

M = rows (tokens), K = depth (in_features), N = columns (out_features). Pointers are plain addresses
(``ndarray.ctypes.data``, ``Tensor.data_ptr()``): only :mod:`fastformers.kernels` and
:mod:`fastformers.modules` call this module, after they have checked dtype, device and layout.
Every compute call releases the GIL.
"""

from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

VERSION: Final[str]
MAX_DEPTH: Final[int]

def built_isas() -> list[str]: ...
def supported_isas() -> list[str]: ...
def active_isa() -> str: ...
def set_active_isa(name: str, /) -> None: ...
def last_used_isa() -> str: ...
def cpu_facts() -> dict[str, Any]: ...
def cpus_by_core() -> list[int]: ...
def default_threads() -> int: ...
def num_threads() -> int: ...
def set_num_threads(threads: int, /) -> None: ...
def pool_workers() -> int: ...
def ceiling_gops(isa: str, threads: int, seconds: float) -> float: ...
def ceiling_gflops(isa: str, threads: int, seconds: float) -> float: ...
def read_bandwidth_gbps(nbytes: int, seconds: float) -> float: ...

@final
class PackedWeight:
    """Canonical s8 [N, K] weights in the panel layout of one instruction set, with scales and column sums.

    The bytes live in ``buffer`` (anything that exports a writable uint8 buffer, 64-byte aligned), which the
    object keeps alive. A buffer is self-describing: a header names layout, N and K and is checked.
    """

    @staticmethod
    def nbytes_for(columns: int, depth: int, isa: str | None = None) -> int: ...
    @staticmethod
    def pack(
        weight: NDArray[np.int8],
        scales: NDArray[np.float32],
        buffer: NDArray[np.uint8],
        isa: str | None = None,
    ) -> PackedWeight: ...
    @staticmethod
    def view(address: int, nbytes: int, owner: object) -> PackedWeight: ...
    @property
    def isa(self) -> str: ...
    @property
    def columns(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def address(self) -> int: ...
    def unpack(self) -> tuple[NDArray[np.int8], NDArray[np.float32]]: ...

def linear(
    x: int,
    rows: int,
    x_stride: int,
    weight: PackedWeight,
    bias: int,
    factors: int,
    residual: int,
    residual_stride: int,
    out: int,
    out_stride: int,
    activation: int,
    per_tensor: bool,
    threads: int,
) -> None: ...
def linear_plain(
    x: object, weight: PackedWeight, bias: object, activation: int, threads: int, /
) -> NDArray[np.float32] | None: ...
def array_address(array: NDArray[Any], /) -> int: ...
def linear_quantized(
    q: int,
    rows: int,
    q_stride: int,
    row_scales: int,
    row_zero_points: int,
    weight: PackedWeight,
    bias: int,
    residual: int,
    residual_stride: int,
    out: int,
    out_stride: int,
    activation: int,
    threads: int,
) -> None: ...
def linear_to_quantized(
    x: int,
    rows: int,
    x_stride: int,
    weight: PackedWeight,
    bias: int,
    factors: int,
    activation: int,
    next_factors: int,
    q: int,
    q_stride: int,
    row_scales: int,
    row_zero_points: int,
    threads: int,
) -> None: ...
def matmul_s32(
    q: int, rows: int, q_stride: int, weight: PackedWeight, out: int, out_stride: int, threads: int
) -> None: ...
def quantize_rows(
    x: int,
    rows: int,
    depth: int,
    x_stride: int,
    factors: int,
    per_tensor: bool,
    q: int,
    q_stride: int,
    row_scales: int,
    row_zero_points: int,
    threads: int,
) -> None: ...
def layer_norm(
    x: int,
    rows: int,
    depth: int,
    x_stride: int,
    residual: int,
    residual_stride: int,
    gamma: int,
    beta: int,
    epsilon: float,
    out: int,
    out_stride: int,
    factors: int,
    q: int,
    q_stride: int,
    row_scales: int,
    row_zero_points: int,
    threads: int,
) -> None: ...
def softmax(
    x: int, rows: int, depth: int, x_stride: int, out: int, out_stride: int, threads: int
) -> None: ...
def attention(
    qkv: int,
    stride: int,
    offsets: int,
    sequences: int,
    heads: int,
    head_size: int,
    window: int,
    relative_bias: int,
    max_tokens: int,
    products: int,
    out: int,
    out_stride: int,
    threads: int,
) -> None: ...
def gelu(x: int, count: int, out: int, approximate_tanh: bool, threads: int) -> None: ...
def time_linear(
    x: int,
    rows: int,
    x_stride: int,
    weight: PackedWeight,
    bias: int,
    out: int,
    out_stride: int,
    activation: int,
    threads: int,
    repetitions: int,
) -> float: ...

@final
class Encoder:
    """A whole encoder, packed for the instruction set in use: ragged batches of token ids in, its plan's outputs out.

    A sequence's result depends on that sequence alone. Safe to call from many threads at once.

    Args:
        plan: :meth:`fastformers.encoder_plan.EncoderPlan.to_dict`'s result.
        tensors: arrays by the names of :mod:`fastformers.encoder_plan`, float32 or int8; copied.
        threads: threads that pack the weights; 0 for the default.
        attention: products of attention: ``"float32"``, ``"int8"``, or ``"auto"``: the faster one, chosen by a
            sequence's length alone.

    Raises:
        ConfigError: a tensor is missing or of another shape than the plan says.
        NonFiniteError: a tensor holds NaN or infinity.
    """

    def __init__(
        self, plan: dict[str, Any], tensors: dict[str, Any], threads: int = 0, attention: str = "auto"
    ) -> None: ...
    def forward(
        self,
        ids: NDArray[np.int32],
        types: NDArray[np.int32] | None,
        offsets: NDArray[np.int64],
        outputs: list[str],
        threads: int = 0,
    ) -> list[NDArray[np.float32]]:
        """Runs a ragged batch of n sequences, T tokens in all.

        Args:
            ids: int32 [T], the tokens of all sequences back to back.
            types: int32 [T] or None (all 0).
            offsets: int64 [n + 1]; sequence i is ``ids[offsets[i]:offsets[i + 1]]``, at least one token.
            outputs: names of outputs of the plan.
            threads: 0 for the default.

        Returns:
            One float32 array for each name: [T, C] where the plan says rows "all", else [n, C].

        Raises:
            ShapeError: an id, a type or a length is out of range.
            ConfigError: the plan has no output of that name.
        """

    def profile(
        self,
        ids: NDArray[np.int32],
        types: NDArray[np.int32] | None,
        offsets: NDArray[np.int64],
        outputs: list[str],
        threads: int = 0,
    ) -> dict[str, Any]:
        """Runs a batch as :meth:`forward` does, and says where the time went instead of giving the outputs.

        Returns:
            ``operations``: names of the columns; ``seconds``: float64 [layers + 1, operations], the time of all
            threads together, the last row for what lies outside of the layers; ``elapsed``: seconds of the call;
            ``threads``: how many took part (0 for an empty batch).
        """

    @property
    def weight_bytes(self) -> int:
        """Bytes of the packed weights and tables."""

    @property
    def int8_matrices(self) -> list[str]:
        """Names of the weights held as INT8, without ``.weight``; all others are float32."""

    @property
    def attention(self) -> str:
        """Products of attention, as asked for."""

    @property
    def workspace_bytes(self) -> int:
        """Bytes of scratch memory kept between calls."""

    @property
    def isa(self) -> str:
        """Instruction set the weights are packed for, and run on."""

    @property
    def layers(self) -> int:
        """Number of layers."""

@final
class Ticket:
    """One ragged batch that waits in a pool, is computed, or is finished."""

    @property
    def tag(self) -> int:
        """The name it was submitted under; -1 for none."""

    @property
    def finished(self) -> bool:
        """Whether it is computed, failed, too late or taken back."""

    def result(self) -> list[NDArray[np.float32]]:
        """Its arrays, copied anew at each call: one for each output, see :meth:`Encoder.forward`.

        Raises:
            NonFiniteError, ...: what the encoder raised.
            DeadlineError: its deadline passed before it was begun.
            ClosedError: it was taken back, or the pool was stopped before it was begun.
            FastformersError: it is not finished.
        """

@final
class InstancePool:
    """N instances over one encoder: threads that take ragged batches from one bounded queue and see no Python.

    Belongs to the process that made it: after a fork, every call in the child raises ``ForkError``.

    Args:
        encoder: kept alive by the pool.
        instances: how many batches are computed at once, 1 to 1,024.
        threads: threads of each instance, 1 to 1,024.
        pin: each thread on a CPU of its own, if the affinity mask has enough.
        capacity: batches that may wait.

    Raises:
        ShapeError: a number is out of range.
    """

    def __init__(self, encoder: Encoder, instances: int, threads: int, pin: bool, capacity: int) -> None: ...
    def submit(
        self,
        ids: NDArray[np.int32],
        types: NDArray[np.int32] | None,
        offsets: NDArray[np.int64],
        outputs: list[str],
        deadline: float | None = None,
        tag: int = -1,
    ) -> Ticket:
        """Queues a batch and returns at once; the arrays are copied. See :meth:`Encoder.forward`.

        Args:
            ids: int32 [T].
            types: int32 [T] or None.
            offsets: int64 [n + 1], n >= 1.
            outputs: names of outputs.
            deadline: seconds from now within which it must be begun.
            tag: 0 or more: :meth:`take_finished` hands it out.

        Raises:
            QueueFullError, ClosedError, ForkError: not queued.
            ShapeError, ConfigError: as :meth:`Encoder.forward`, at once.
        """

    def wait(self, ticket: Ticket) -> None:
        """Waits, without the GIL, until it is finished; signals are handled meanwhile."""

    def take_finished(self) -> list[Ticket]:
        """Waits, without the GIL, for tagged tickets to finish and hands each out once.

        Empty when the pool is stopped and no more will come.
        """

    def cancel(self, ticket: Ticket) -> bool:
        """Takes a ticket back; False when it has been begun or is finished."""

    def stop(self, drain: bool) -> None:
        """Takes no more from now on, and computes (drain) or drops what waits; returns at once."""

    def join(self) -> None:
        """Waits, without the GIL, until all instances of a stopped pool have ended; signals are handled meanwhile."""

    @property
    def waiting(self) -> int:
        """Tickets in the queue."""

    @property
    def running(self) -> int:
        """Tickets being computed."""

    @property
    def cpus(self) -> list[list[int]]:
        """CPUs of each instance's threads; empty when they are not pinned."""
