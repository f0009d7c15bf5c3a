# SPDX-License-Identifier: MIT
"""Does an engine stay as it is: memory, threads and idle CPU after very many requests and load/close cycles."""
