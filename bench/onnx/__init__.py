# SPDX-License-Identifier: MIT
"""What choices in exported INT8 graphs give, on ONNX Runtime."""
