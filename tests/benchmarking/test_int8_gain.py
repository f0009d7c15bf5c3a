# SPDX-License-Identifier: MIT
"""The ratio of INT8 to float32 products is measured on every path, and told where it is small."""

from __future__ import annotations

import pytest

from fastformers import kernels
from fastformers.benchmarking import int8_gain
from fastformers.benchmarking.int8_gain import int8_note, int8_over_float32


def test_the_ratio_is_measured_on_every_path() -> None:
    for isa in kernels.available_isas():
        ratio = int8_over_float32(isa)
        # An instruction of VNNI does four times the products of a float32 one, a Zen 1 as many: outside of
        # half to twice that, no ceiling was measured.
        assert ratio is None if isa == "reference" else ratio is not None and 0.5 < ratio < 8, isa


def test_int8_that_is_no_faster_than_float32_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for ratio, told in ((1.0, True), (1.4, False), (None, False)):
        monkeypatch.setattr(int8_gain, "int8_over_float32", lambda isa, ratio=ratio: ratio)
        assert ("INT8 products run at 1.0 times" in (int8_note() or "")) == told


def test_a_path_that_this_cpu_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="mmx"):
        int8_over_float32("mmx")
