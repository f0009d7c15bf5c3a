# SPDX-License-Identifier: MIT
"""How near INT8 answers stay to float32 ones, on real weights and real text."""
