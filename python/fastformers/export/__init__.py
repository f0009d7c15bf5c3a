# SPDX-License-Identifier: MIT
"""ONNX: graphs written from encoder plans, and our own operators in them."""
