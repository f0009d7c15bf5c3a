# SPDX-License-Identifier: MIT
"""The demo with next to no training, for trying the chain of benchmarks."""
