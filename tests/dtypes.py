"""Types of numbers as parameters of tests."""

import pytest

FLOATS = [
    "float16",
    "float32",
    pytest.param("bfloat16", marks=pytest.mark.slow),
    pytest.param("float64", marks=pytest.mark.slow),
]
"""The half types and the full ones; of each kind the one with the smaller range by default."""
