import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.ops import fold_in, normal, seed_of, split_seed, step_seed, uniform
from tfdiscrete.ops.random import _bits

SPACING = {"float32": 2.0**-23, "float64": 2.0**-52}
INTEGER = {"float32": "uint32", "float64": "uint64"}
DTYPES = sorted(SPACING)


def executions(function):
    """The function run eagerly, in a graph and by XLA."""
    return [run() for run in (function, tf.function(function), tf.function(function, jit_compile=True))]


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniforms_are_the_same_in_eager_graph_and_xla_execution(dtype):
    eager, graph, xla = executions(lambda: uniform([300, 7], [3, 4], dtype=dtype))
    np.testing.assert_array_equal(graph, eager)
    np.testing.assert_array_equal(xla, eager)
    assert len(np.unique(eager)) > 2000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_extreme_bits_give_numbers_strictly_between_zero_and_one(monkeypatch, dtype, jit_compile):
    integer = np.dtype(INTEGER[dtype])
    extremes = tf.constant([0, np.iinfo(integer).max], integer)
    monkeypatch.setattr("tfdiscrete.ops.random._bits", lambda *args, **kwargs: extremes)
    smallest, largest = tf.function(lambda: uniform([2], [0, 0], dtype=dtype), jit_compile=jit_compile)().numpy()
    assert smallest == SPACING[dtype] / 2 > 0
    assert largest == 1 - SPACING[dtype] / 2 < 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniforms_have_the_uniform_distribution(dtype):
    count = 200_000
    values = uniform([count], [11, 12], dtype=dtype).numpy().astype(np.float64)
    assert abs(values.mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / count)
    assert scipy.stats.kstest(values, "uniform").pvalue > 1e-3
    low_bits = np.floor(values / SPACING[dtype]) % 256
    assert scipy.stats.chisquare(np.bincount(low_bits.astype(int), minlength=256)).pvalue > 1e-3


def test_neighbouring_uniforms_are_independent():
    values = uniform([200_000], [5, 6]).numpy().reshape(-1, 2)
    cells = np.histogram2d(*values.T, bins=16, range=[[0, 1]] * 2)[0]
    assert scipy.stats.chisquare(cells.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_uniforms_of_other_dtypes_are_refused(dtype):
    with pytest.raises(InputError, match=f"must be float32 or float64. Received: dtype='{dtype}'"):
        uniform([2], [0, 0], dtype=dtype)


def test_uniform_takes_a_shape_that_is_a_tensor():
    draw = tf.function(lambda batch: uniform(tf.stack([batch, 3]), [1, 2]))
    np.testing.assert_array_equal(draw(tf.constant(4)), uniform([4, 3], [1, 2]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_numbers_have_the_normal_law(dtype):
    values = normal([200_000], [11, 12], dtype=dtype).numpy().astype(np.float64)
    assert scipy.stats.kstest(values, "norm").pvalue > 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_numbers_are_the_quantiles_of_the_uniforms_in_every_execution(dtype):
    expected = scipy.stats.norm.ppf(uniform([300, 7], [3, 4], dtype=dtype).numpy().astype(np.float64))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for draws in executions(lambda: normal([300, 7], [3, 4], dtype=dtype)):
        np.testing.assert_allclose(draws, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "largest"), [("float32", 5.4), ("float64", 8.3)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_normal_numbers_of_the_extreme_uniforms_are_finite_and_opposite(monkeypatch, dtype, largest, jit_compile):
    extremes = tf.constant([SPACING[dtype] / 2, 1 - SPACING[dtype] / 2], dtype)
    monkeypatch.setattr("tfdiscrete.ops.random.uniform", lambda shape, seed, *, dtype: extremes)
    low, high = tf.function(lambda: normal([2], [0, 0], dtype=dtype), jit_compile=jit_compile)().numpy()
    assert largest - 0.2 < high <= largest
    assert low == pytest.approx(-high, rel=1e-5)


@pytest.mark.parametrize("data", [3, np.int64(3), tf.constant(3), tf.constant(3, tf.int64)])
def test_seed_is_an_int32_pair_for_every_kind_of_integer(data):
    assert fold_in([1, 2], data).dtype == tf.int32
    np.testing.assert_array_equal(fold_in([1, 2], data), fold_in(tf.constant([1, 2]), tf.constant(3)))
    assert step_seed(7, data).dtype == tf.int32
    np.testing.assert_array_equal(step_seed(7, data), step_seed(7, 3))


@pytest.mark.parametrize("seed", [None, 3, [3], [1, 2, 3], [0.5, 1.0], "01", [None, 1]], ids=str)
@pytest.mark.parametrize(
    "draw", [lambda seed: uniform([2], seed), lambda seed: fold_in(seed, 3), lambda seed: split_seed(seed, 2)]
)
def test_what_is_no_seed_is_refused(draw, seed):
    with pytest.raises(InputError, match=r"a seed must be two integers, int32 \[2\], such as \[0, 1\].* Received: "):
        draw(seed)


def test_seeds_are_the_same_in_every_execution():
    def seeds():
        return tf.stack([fold_in([1, 2], 3), *split_seed([1, 2], 3), step_seed(9, tf.constant(4, tf.int64))])

    eager, graph, xla = executions(seeds)
    assert eager.dtype == tf.int32
    assert eager.shape == [5, 2]
    np.testing.assert_array_equal(graph, eager)
    np.testing.assert_array_equal(xla, eager)


def test_split_seeds_draw_different_noise():
    draws = np.stack([uniform([1000], seed) for seed in split_seed([1, 2], 4)])
    assert abs(np.corrcoef(draws) - np.eye(4)).max() < 4.5 / np.sqrt(1000)


@pytest.mark.parametrize(
    "bases", [(0, 1), (0, 2**31), (1, 2**31 + 1), (0, 2**61), (2**62, 2**62 + 1), (2**32, 2**33), (2**31 - 1, 2**31)]
)
def test_bases_that_differ_in_any_bit_give_different_noise(bases):
    draws = [uniform([1000], step_seed(base, 0)).numpy() for base in bases]
    assert abs(np.corrcoef(draws)[0, 1]) < 4.5 / np.sqrt(1000)


def test_every_step_draws_its_own_noise():
    counters = [0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 1]
    draws = np.stack([uniform([4000], step_seed(7, tf.constant(counter, tf.int64))) for counter in counters])
    assert abs(np.corrcoef(draws) - np.eye(len(counters))).max() < 4.5 / np.sqrt(4000)


def draws_of_replicas(devices):
    strategy = tf.distribute.MirroredStrategy(devices)

    @tf.function
    def step(counter):
        return strategy.experimental_local_results(strategy.run(lambda: uniform([4000], step_seed(7, counter))))

    return np.stack([*step(tf.constant(5, tf.int64)), *step(tf.constant(6, tf.int64))])


def test_replicas_and_steps_draw_different_noise():
    draws = draws_of_replicas(["CPU:0", "CPU:1"])
    assert draws.shape == (4, 4000)
    assert abs(np.corrcoef(draws) - np.eye(4)).max() < 4.5 / np.sqrt(4000)


def test_one_replica_draws_what_no_strategy_draws():
    expected = [uniform([4000], step_seed(7, tf.constant(counter, tf.int64))) for counter in (5, 6)]
    np.testing.assert_array_equal(draws_of_replicas(["CPU:0"]), expected)


def test_seeds_differ_between_bases_purposes_and_steps():
    bases = (0, 1, 2**31 - 1, 2**31, 2**40, 2**62 - 1)
    seeds = [tuple(seed_of(base, purpose).numpy()) for base in bases for purpose in ("", "evaluate", "order")]
    seeds += [tuple(step_seed(base, tf.constant(3, tf.int64)).numpy()) for base in bases]
    assert len(set(seeds)) == len(seeds) == 24
    assert {seed_of(base, "order").dtype for base in bases} == {tf.int32}


@pytest.mark.parametrize("seed", [[7, 0], [-60841913, 3], [2**31 - 1, -(2**31)]])
def test_seeds_are_the_same_in_every_mode_for_negative_numbers_too(seed):
    def seeds():
        return [fold_in(seed, 5), fold_in(fold_in(seed, -1), 2**31 - 1), step_seed(7, 3, "layer"), *split_seed(seed, 3)]

    eager, graph, xla = seeds(), tf.function(seeds)(), tf.function(seeds, jit_compile=True)()
    np.testing.assert_array_equal(graph, eager)
    np.testing.assert_array_equal(xla, eager)


@pytest.mark.parametrize("seed", [[1, 2], [-5, 7], [-(2**31), -1]])
@pytest.mark.parametrize("shape", [[101], [4, 5], [0, 3], []])
@pytest.mark.parametrize("dtype", ["int32", "uint32", "uint64"])
def test_bits_are_those_of_tensorflow_s_philox(seed, shape, dtype):
    expected = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=dtype, alg="philox")
    np.testing.assert_array_equal(_bits(shape, tf.constant(seed), tf.as_dtype(dtype)), expected)
    compiled = tf.function(lambda: _bits(shape, tf.constant(seed), tf.as_dtype(dtype)), jit_compile=True)
    np.testing.assert_array_equal(compiled(), expected)
