"""Every public sampler, quantizer, metric and tensor function has a docstring whose example runs."""

import inspect
import re
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfdiscrete
from tfdiscrete import bijectors, distributions, layers, metrics, ops

PARTS = (bijectors, distributions, layers, metrics, ops)
NAMES = [
    pytest.param(part, name, id=f"{part.__name__.split('.')[-1]}.{name}") for part in PARTS for name in part.__all__
]
# What nobody makes.
WITHOUT_EXAMPLE = {
    "distributions.Family": "a protocol",
    "layers.Quantized": "the fields of a result",
    "metrics.Codes": "the fields of a result",
    "metrics.Figure": "the fields of a result",
    "metrics.Information": "the fields of a result",
    "metrics.PosteriorUsage": "the fields of a result",
    "metrics.posterior_usage": "takes what `predict` gives",
    "ops.OrderedSample": "the fields of a result",
    "ops.TopCodes": "the fields of a result",
}


def example_of(docstring: str) -> str:
    """The code indented below "Example:", of a docstring as `inspect.getdoc` gives it."""
    found = re.search(r"^Example:\n\n((?:    .*\n|\n)+)", docstring + "\n", re.MULTILINE)
    return textwrap.dedent(found[1]).rstrip() if found else ""


def namespace_of(part) -> dict:
    return {
        "keras": keras,
        "np": np,
        "tf": tf,
        "tfb": tfp.bijectors,
        "tfd": tfp.distributions,
        "tfdiscrete": tfdiscrete,
        **{name: getattr(part, name) for name in part.__all__},
    }


def test_an_example_is_found_up_to_the_end_of_its_indentation():
    docstring = "One line.\n\nExample:\n\n    a = [\n        1,\n    ]\n\n    b = a\n\nArgs:\n    x: 1.\n"
    assert example_of(docstring) == "a = [\n    1,\n]\n\nb = a"


@pytest.mark.parametrize(("part", "name"), NAMES)
def test_the_docstring_s_example_runs(part, name):
    public = getattr(part, name)
    qualified = f"{part.__name__.split('.')[-1]}.{name}"
    if qualified in WITHOUT_EXAMPLE:
        return
    assert inspect.getdoc(public), f"{qualified} has no docstring"
    code = example_of(inspect.getdoc(public))
    assert code, f"the docstring of {qualified} has no example"
    exec(compile(code, f"{qualified} example", "exec"), namespace_of(part))
