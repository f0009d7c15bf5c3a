# SPDX-License-Identifier: MIT
"""What ``quantize_`` leaves in memory, and what it takes on the way."""
