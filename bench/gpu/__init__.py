# SPDX-License-Identifier: MIT
"""What half precision, length buckets, fused attention, compilation and the GPU's ladder give: see README.md."""
