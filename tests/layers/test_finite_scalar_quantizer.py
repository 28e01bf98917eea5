import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.layers import FiniteScalarQuantizer

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 8, 9, 16, 255, 1001, 5000])
def test_every_level_is_reached_and_none_beyond(levels):
    layer = FiniteScalarQuantizer([levels])
    x = np.linspace(-20.0, 20.0, 400_001, dtype="float32")[:, None]
    code, index, loss = layer(x)
    half = levels // 2
    expected = (np.arange(levels) - half) / half
    np.testing.assert_allclose(np.unique(code), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(np.unique(index), np.arange(levels))
    assert (np.diff(index) >= 0).all()
    assert loss == 0.0
    np.testing.assert_array_equal(layer(np.array([[np.inf], [-np.inf]])).index, [levels - 1, 0])


@pytest.mark.parametrize("levels", [3, 4, 5, 8, 9])
def test_zero_is_in_the_middle_of_its_level(levels):
    layer = FiniteScalarQuantizer([levels])
    assert layer(np.zeros((1, 1))).code == 0.0
    height, offset = (levels - 1) * 1.001 / 2, 0.0 if levels % 2 else 0.5
    edges = [np.arctanh((offset + side) / height) - np.arctanh(offset / height) for side in (-0.5, 0.5)]
    for edge, below, above in zip(edges, (-1, 0), (0, 1), strict=True):
        index = layer(np.array([[edge - 1e-3], [edge + 1e-3]])).index - levels // 2
        np.testing.assert_array_equal(index, [below, above])


def test_two_levels_are_divided_at_zero():
    np.testing.assert_array_equal(FiniteScalarQuantizer([2])(np.array([[-0.01], [0.01]])).code, [[-1.0], [0.0]])


def test_all_codes_are_reachable_and_their_indices_a_bijection():
    levels = [4, 3, 2, 5]
    layer = FiniteScalarQuantizer(levels)
    digits = np.array(list(itertools.product(*map(range, levels))))
    halves = np.array(levels) // 2
    codes = (digits - halves) / halves
    index = (digits * np.cumprod([1, *levels[:-1]])).sum(-1)
    layer.build((None, 4))
    np.testing.assert_array_equal(np.sort(index), np.arange(120))
    np.testing.assert_allclose(layer.decode(index), codes, rtol=1e-6, atol=1e-7)
    result = layer(RNG.normal(size=(20_000, 4)) * 2.0)
    np.testing.assert_array_equal(np.unique(result.index), np.arange(120))
    np.testing.assert_array_equal(layer.decode(result.index), result.code)


def test_the_gradient_is_that_of_the_bounding_function():
    levels, x = np.array([5, 8, 2]), tf.constant(RNG.normal(size=(20, 3)), tf.float64)
    layer = FiniteScalarQuantizer(levels.tolist(), dtype="float64")
    with tf.GradientTape() as tape:
        tape.watch(x)
        code = layer(x).code
    offset, height = np.array([0.0, 0.5, 0.5]), (levels - 1) * 1.001 / 2
    shift = np.array([0.0, np.arctanh(0.5 / height[1]), 0.0])
    slope = (1 - np.tanh(x + shift) ** 2) * height / (levels // 2)
    np.testing.assert_allclose(tape.gradient(code, x), slope, rtol=1e-9)
    assert (np.abs(code - (np.tanh(x + shift) * height - offset) / (levels // 2)) <= 0.5 / (levels // 2) + 1e-12).all()


def test_a_very_large_codebook_works_and_its_perplexity_is_that_of_the_dimensions():
    layer = FiniteScalarQuantizer([1000, 1000, 1000])
    result = layer(RNG.normal(size=(500, 3)).astype("float32"))
    np.testing.assert_array_equal(layer.decode(result.index), result.code)
    digits = [np.unique(column, return_counts=True)[1] / 500 for column in result.code.numpy().T]
    entropy = [-(p * np.log(p)).sum() for p in digits]
    np.testing.assert_allclose(layer.perplexity.result(), np.exp(np.mean(entropy)), rtol=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_agree_with_eager(jit_compile):
    layer, x = FiniteScalarQuantizer([8, 5, 2, 3]), RNG.normal(size=(1000, 4)).astype("float32")
    layer.build(x.shape)
    np.testing.assert_array_equal(tf.function(layer, jit_compile=jit_compile)(x).index, layer(x).index)


@pytest.mark.parametrize("levels", [[], None, 5, "85", [5, 1], [5, 2.0], [5, True]])
def test_levels_that_are_none_are_refused(levels):
    with pytest.raises(InputError, match="levels must be"):
        FiniteScalarQuantizer(levels)


def test_too_many_codes_are_refused():
    with pytest.raises(InputError, match=r"below 2\^31, for an int32 index. Received: levels=\[65536, 32768\]"):
        FiniteScalarQuantizer([65536, 32768])


def test_inputs_of_another_dimension_are_refused():
    with pytest.raises(InputError, match=r"inputs must have shape \[..., D\] with D = 2, the number of `levels`"):
        FiniteScalarQuantizer([5, 5])(np.zeros((4, 3)))
