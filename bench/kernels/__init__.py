# SPDX-License-Identifier: MIT
"""Microbenchmarks of the INT8 linear layer: float in -> float out, quantization, bias and ReLU included."""
