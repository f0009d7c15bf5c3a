# SPDX-License-Identifier: MIT
"""torch.ao dynamic quantization (x86, onednn, fbgemm): s8 weights, u8 activations with one range per call.

The fused LinearReLU module is used: it is the quicker of the two ways to write the layer. Weights have one
scale per matrix, torch's default; its per-channel variant is slower.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.ao.nn.intrinsic import LinearReLU

from bench.kernels.cases import Case


def prepare(case: Case, threads: int, engine: str) -> Callable[[], object]:
    """Returns one call of the quantized layer.

    Raises:
        RuntimeError: this torch was built without the engine.
    """
    torch.set_num_threads(threads)
    torch.backends.quantized.engine = engine
    linear = nn.Linear(case.shape.depth, case.shape.columns)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(case.weight))
        linear.bias.copy_(torch.from_numpy(case.bias))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        fused = nn.Sequential(LinearReLU(linear, nn.ReLU()))
        quantized = torch.ao.quantization.quantize_dynamic(fused, {LinearReLU}, dtype=torch.qint8)
    layer, x = quantized[0], torch.from_numpy(case.x)
    return lambda: layer(x)
