"""The same numbers from Keras, the SavedModel, ONNX and LiteRT, and what the latter two refuse."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from tests.models import deep_problem, label_problem, test_families, test_vector_quantized_vae
from tfdiscrete import InputError
from tfdiscrete.serving import export_model
from tfdiscrete.serving.export import FORMATS

CONVERTERS = ("onnx", "tf2onnx", "onnxruntime", "ai_edge_litert")
needs_converters = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in CONVERTERS),
    reason='needs the converters: pip install "tfdiscrete[export]"',
)
ALL = ("saved_model", "onnx", "litert")
MODELS = {
    **{f"vae-{name}": lambda name=name: test_families.make_vae(name) for name in test_families.MAKE},
    **{f"vq-{kind}": lambda kind=kind: test_vector_quantized_vae.make_vae(kind) for kind in ("fsq", "lfq")},
    **{f"vq-{kind}": lambda kind=kind: test_vector_quantized_vae.make_vae(kind) for kind in ("ema", "loss", "product")},
    "vq-residual": lambda: test_vector_quantized_vae.make_vae("residual"),
    **{f"deep-{family}": lambda family=family: deep_problem.make_model(2, family) for family in deep_problem.CATEGORIES},
    "labels": label_problem.make_model,
    "attributes": lambda: label_problem.make_model(label_problem.ATTRIBUTES)
    if hasattr(label_problem, "ATTRIBUTES")
    else label_problem.make_model((2, 3)),
}
