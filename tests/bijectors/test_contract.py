"""What all public bijectors have in common: one property suite over a registry of their settings."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfdiscrete import bijectors

tfb, tfd = tfp.bijectors, tfp.distributions

NAMES = sorted(bijectors.__all__)


@dataclasses.dataclass(frozen=True)
class Case:
    """One setting of a bijector of `[..., dimension]`; a parameter is a number or the values of one event."""

    dimension: int
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


CASES = {
    "PlanarFlow": [
        Case(1, {"u": [1.5], "w": [0.8], "b": 0.3}),
        Case(2, {"u": [-0.9, 0.4], "w": [1.1, -0.7], "b": -0.2}),
        Case(3, {"u": [0.5, -1.0, 2.0], "w": [0.0, 0.0, 0.0], "b": 1.0}),
        Case(6, {"u": [0.5, -1.0, 2.0, 0.1, 0.0, 1.0], "w": [0.3, 1.0, -0.6, 2.0, 0.1, -0.4], "b": 1.5}),
    ],
    "SoftmaxPlusPlus": [
        Case(1, {"temperature": 0.5, "delta": 0.1}),
        Case(2),
        Case(2, {"temperature": 4.0, "delta": 1e-3}),
        Case(6, {"temperature": 0.3, "delta": 3.0}),
    ],
    "StickBreaking": [Case(1), Case(2), Case(6)],
}
# name -> points at the edges of the domain in float32, as multiples of (1, -1, 1, ...), and parameters there.
EDGES = {
    "PlanarFlow": [
        (scale, {"u": [v * s for s in (1, 2, -1)], "w": [1.0, 2.0, -1.0], "b": b})
        for scale in (0.0, 1e-30, 1e4, 1e20)
        for v, b in itertools.product((-20.0, -1e-20, 1e-6, 20.0), (0.0, 0.5))
    ],
    "SoftmaxPlusPlus": [
        (scale, {"temperature": t, "delta": d})
        for scale in (0.0, 1e-30, 1e4, 1e6)
        for t, d in [(1e-3, 1e30), (9.0, 1e-30)]
    ],
    "StickBreaking": [(scale, {}) for scale in (0.0, 1e-30, 100.0, 1e6, 1e30)],
}
# name -> parameters that validate_args refuses.
BAD_PARAMETERS = {
    "PlanarFlow": [
        {"u": [np.nan, 1.0], "w": [1.0, 1.0], "b": 0.0},
        {"u": [1.0, 1.0], "w": [1.0, np.inf], "b": 0.0},
        {"u": [1.0, 1.0], "w": [1.0, 1.0], "b": -np.inf},
    ],
    "SoftmaxPlusPlus": [{"temperature": 0.0}, {"temperature": -1.0}, {"delta": 0.0}, {"delta": np.nan}],
    "StickBreaking": [],
}
# name -> points beyond the domain, and points beyond the image, that validate_args refuses.
BAD_POINTS = {
    "PlanarFlow": ([[np.nan, 0.0]], [[np.inf, 0.0]]),
    "SoftmaxPlusPlus": ([[np.nan, 0.0], [np.inf, 0.0]], [[0.5, 0.6, 0.1], [0.5, 0.5, 0.0], [0.7, 0.7, -0.4]]),
    "StickBreaking": ([[np.nan, 0.0], [np.inf, 0.0]], [[0.5, 0.6], [0.5, 0.0], [0.5, -0.1]]),
}
# (bijector, test) -> why the bijector is excepted from the test.
EXCEPTIONS = {
    (
        "PlanarFlow",
        "test_bfloat16_is_float32_up_to_its_rounding",
    ): "it refuses half types, whose inverse would be a poor root",
}

ALL_CASES = [pytest.param(name, case, id=f"{name}-{i}") for name in NAMES for i, case in enumerate(CASES[name])]
every_case = pytest.mark.parametrize(("name", "case"), ALL_CASES)


@pytest.fixture(autouse=True)
def _skip_exceptions(request):
    name = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    if reason := EXCEPTIONS.get((name, request.node.originalname)):
        pytest.skip(reason)


def make(name, parameters, dtype=tf.float64, **options):
    if name == "SoftmaxPlusPlus":
        return bijectors.SoftmaxPlusPlus(**parameters, dtype=dtype, **options)
    parameters = {key: tf.constant(value, dtype) for key, value in parameters.items()}
    return getattr(bijectors, name)(**parameters, **options)


def points(dimension, count=5, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(count, dimension)))


def image_points(name, dimension, count=5):
    """Points of the image that do not come out of `forward`."""
    if name == "PlanarFlow":
        return points(dimension, count, seed=1)
    simplex = np.random.default_rng(1).dirichlet(np.ones(dimension + 1), size=count)
    return tf.constant(simplex if name == "SoftmaxPlusPlus" else simplex[:, :-1])


def log_det_of_jacobian(function, at, dimension):
    """log |det| of the autodiff Jacobian on the first `dimension` coordinates of both sides, in float64."""
    first, rest = tf.constant(at[..., :dimension]), at[..., dimension:]
    with tf.GradientTape() as tape:
        tape.watch(first)
        # The further coordinate of the simplex is what the others leave.
        last = 1.0 - tf.reduce_sum(first, axis=-1, keepdims=True)
        out = function(tf.concat([first, last], axis=-1) if rest.shape[-1] else tf.identity(first))
        out = out[..., :dimension]
    return np.linalg.slogdet(tape.batch_jacobian(out, first))[1]


def test_every_public_bijector_has_its_cases():
    for registry in (CASES, EDGES, BAD_PARAMETERS, BAD_POINTS):
        assert sorted(registry) == NAMES


def test_every_exception_is_of_a_test_of_this_file_and_says_why():
    for (name, test), reason in EXCEPTIONS.items():
        assert name in NAMES
        assert callable(globals()[test])
        assert len(reason) > 10


@every_case
def test_inverse_undoes_forward_and_forward_undoes_inverse(name, case):
    bijector, y, x = make(name, case.parameters), points(case.dimension), image_points(name, case.dimension)
    # A bijector remembers its last arguments: identity makes them strangers.
    np.testing.assert_allclose(bijector.inverse(tf.identity(bijector.forward(y))), y, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(bijector.forward(tf.identity(bijector.inverse(x))), x, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_points_anywhere_come_back(name, data):
    dimension = CASES[name][1].dimension
    y = data.draw(hnp.arrays(np.float64, (3, dimension), elements=st.floats(-8.0, 8.0)))
    bijector = make(name, CASES[name][1].parameters)
    np.testing.assert_allclose(bijector.inverse(tf.identity(bijector.forward(y))), y, rtol=1e-7, atol=1e-7)


@every_case
def test_log_dets_are_those_of_the_autodiff_jacobian(name, case):
    bijector, y, x = make(name, case.parameters), points(case.dimension), image_points(name, case.dimension)
    forward = log_det_of_jacobian(bijector.forward, y, case.dimension)
    inverse = log_det_of_jacobian(bijector.inverse, x, case.dimension)
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(tf.identity(y)), forward, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(tf.identity(x)), inverse, rtol=1e-9, atol=1e-9)
    there_and_back = bijector.inverse_log_det_jacobian(tf.identity(bijector.forward(tf.identity(y))))
    np.testing.assert_allclose(there_and_back, -forward, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "case"),
    [pytest.param(name, case, id=f"{name}-{case.dimension}") for name in NAMES for case in CASES[name][:2]],
)
def test_density_of_a_pushed_forward_gaussian_integrates_to_one(name, case):
    loc, scale = np.array([0.3, -0.5])[: case.dimension], np.array([0.7, 0.5])[: case.dimension]
    pushed = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(loc, scale), make(name, case.parameters))

    grid = np.linspace(-14.0, 14.0, 561)
    t = np.stack(np.meshgrid(*[grid] * case.dimension, indexing="ij"), axis=-1).reshape(-1, case.dimension)
    x, jacobian = t, np.ones(len(t))
    if name != "PlanarFlow":
        # Sticks x_1 = a, x_2 = (1 - a) b, ... of shares a = sigmoid(t_1), b = sigmoid(t_2), ...
        shares, rests = scipy.special.expit(t), scipy.special.expit(-t)
        left = np.cumprod(np.concatenate([np.ones((len(t), 1)), rests], axis=-1), axis=-1)
        x, jacobian = shares * left[:, :-1], np.prod(shares * rests * left[:, :-1], axis=-1)
        x = np.concatenate([x, left[:, -1:]], axis=-1) if name == "SoftmaxPlusPlus" else x
    # The trapezoidal rule, which converges faster than any power for a smooth function that vanishes at the ends.
    integral = np.sum(pushed.prob(x).numpy() * jacobian) * (grid[1] - grid[0]) ** case.dimension
    assert integral == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_overflows_at_the_edges_of_the_domain_in_float32(name):
    signs = np.array([[1.0, -1.0, 1.0], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    for scale, parameters in EDGES[name]:
        leaves = {key: tf.constant(value, tf.float32) for key, value in parameters.items()}
        leaves["y"] = tf.constant(scale * signs, tf.float32)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(leaves)
            bijector = make(name, {key: value for key, value in leaves.items() if key != "y"}, tf.float32)
            x, log_det = bijector.forward(leaves["y"]), bijector.forward_log_det_jacobian(leaves["y"])
        assert np.isfinite(x).all(), (scale, parameters)
        assert np.isfinite(log_det).all(), (scale, parameters)
        for result in (x, log_det):
            for key, gradient in tape.gradient(result, leaves).items():
                assert gradient is None or np.isfinite(gradient).all(), (scale, parameters, key)


@every_case
def test_event_shapes_are_known_statically_and_dynamically(name, case):
    bijector, inner = make(name, case.parameters), [7, 5, case.dimension]
    outer = list(bijector.forward(np.zeros(inner)).shape)
    assert bijector.forward_event_shape(inner) == outer
    assert bijector.inverse_event_shape(outer) == inner
    np.testing.assert_array_equal(bijector.forward_event_shape_tensor(inner), outer)
    np.testing.assert_array_equal(bijector.inverse_event_shape_tensor(outer), inner)
    assert bijector.forward_min_event_ndims == bijector.inverse_min_event_ndims == 1


def batched(name, case, batch, seed=0):
    """The case's parameters, times other positive numbers for each element of the batch."""
    rng, parameters = np.random.default_rng(seed), {}
    for key, value in case.parameters.items():
        # A scalar of softmax++ stands for all coordinates of the event.
        rank = 1 if name == "SoftmaxPlusPlus" else np.ndim(value)
        parameters[key] = rng.uniform(0.5, 1.5, (*batch, *[1] * rank)) * np.array(value)
    return parameters


@every_case
@pytest.mark.parametrize(("batch", "leading"), [((4,), (3,)), ((4,), ()), ((2, 4), (3,))])
def test_a_batch_of_parameters_is_as_many_bijectors(name, case, batch, leading):
    parameters = batched(name, case, batch)
    bijector = make(name, parameters)
    y = np.random.default_rng(2).normal(size=(*leading, *batch, case.dimension))
    x, log_det = bijector.forward(y), bijector.forward_log_det_jacobian(y)
    back, inverse_log_det = bijector.inverse(tf.identity(x)), bijector.inverse_log_det_jacobian(tf.identity(x))
    assert log_det.shape == inverse_log_det.shape == (*leading, *batch)
    for index in np.ndindex(*batch):
        at = (slice(None),) * len(leading) + index
        rows = {
            key: value[index][0] if name == "SoftmaxPlusPlus" else value[index] for key, value in parameters.items()
        }
        single = make(name, rows)
        np.testing.assert_allclose(x[at], single.forward(y[at]), rtol=1e-10)
        np.testing.assert_allclose(log_det[at], single.forward_log_det_jacobian(y[at]), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(back[at], y[at], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(inverse_log_det[at], -log_det[at].numpy(), rtol=1e-8, atol=1e-8)


@every_case
def test_one_point_goes_through_every_bijector_of_a_batch(name, case):
    parameters = batched(name, case, (4,))
    bijector, y = make(name, parameters), points(case.dimension, count=1)[0]
    copies = tf.broadcast_to(y, [4 if parameters else 1, case.dimension])
    x = tf.broadcast_to(bijector.forward(y), bijector.forward(copies).shape)
    np.testing.assert_allclose(x, make(name, parameters).forward(copies), rtol=1e-12)
    log_det = tf.broadcast_to(bijector.forward_log_det_jacobian(y), copies.shape[:1])
    np.testing.assert_allclose(log_det, make(name, parameters).forward_log_det_jacobian(copies), rtol=1e-12, atol=1e-15)


@every_case
@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_when_traced(name, case, jit_compile):
    shapes = []

    def run(y):
        bijector = make(name, case.parameters)
        x = bijector.forward(y)
        stranger = tf.identity(x)
        results = (
            x,
            bijector.inverse(stranger),
            bijector.forward_log_det_jacobian(y),
            bijector.inverse_log_det_jacobian(stranger),
        )
        shapes.append([result.shape.as_list() for result in results])
        return results

    traced = tf.function(run, jit_compile=jit_compile)
    traced = traced.get_concrete_function(tf.TensorSpec([None, case.dimension], tf.float64))
    y = points(case.dimension)
    outer = case.dimension + (name == "SoftmaxPlusPlus")
    assert shapes == [[[None, outer], [None, case.dimension], [None], [None]]]
    for result, expected in zip(traced(y), run(y), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-9)


@every_case
def test_invert_swaps_the_directions(name, case):
    y, inverted = points(case.dimension), tfb.Invert(make(name, case.parameters))
    bijector = make(name, case.parameters)
    x, log_det = bijector.forward(y), bijector.forward_log_det_jacobian(y)
    np.testing.assert_allclose(inverted.inverse(tf.identity(y)), x, rtol=1e-12)
    np.testing.assert_allclose(inverted.forward(tf.identity(x)), y, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(inverted.inverse_log_det_jacobian(tf.identity(y)), log_det, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(inverted.forward_log_det_jacobian(tf.identity(x)), -log_det, rtol=1e-9, atol=1e-9)


@every_case
def test_chain_composes_the_maps_and_adds_the_log_dets(name, case):
    y, scale = points(case.dimension), np.array(0.7)
    chain = tfb.Chain([make(name, case.parameters), tfb.Scale(scale)])
    bijector = make(name, case.parameters)
    x = chain.forward(y)
    np.testing.assert_allclose(x, bijector.forward(scale * y), rtol=1e-12)
    np.testing.assert_allclose(chain.inverse(tf.identity(x)), y, rtol=1e-9, atol=1e-9)
    expected = bijector.forward_log_det_jacobian(scale * y) + case.dimension * np.log(scale)
    np.testing.assert_allclose(chain.forward_log_det_jacobian(tf.identity(y)), expected, rtol=1e-12, atol=1e-12)
    assert chain.forward_event_shape([case.dimension]) == x.shape[1:]


@every_case
def test_a_transformed_distribution_knows_its_batch(name, case):
    parameters = batched(name, case, (4,))
    base = tfd.MultivariateNormalDiag(tf.zeros([4, case.dimension], tf.float64), tf.ones([case.dimension], tf.float64))
    pushed = tfd.TransformedDistribution(base, make(name, parameters))
    assert pushed.batch_shape == [4]
    np.testing.assert_array_equal(pushed.batch_shape_tensor(), [4])
    sample = pushed.sample(3, seed=[0, 1])
    assert sample.shape == (3, 4, case.dimension + (name == "SoftmaxPlusPlus"))
    assert pushed.log_prob(tf.identity(sample)).shape == (3, 4)


@every_case
@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_good_arguments_pass_validation(name, case, wrap):
    @wrap
    def run(y, x):
        bijector = make(name, case.parameters, validate_args=True)
        return bijector.forward(y), bijector.inverse(x), bijector.forward_log_det_jacobian(y)

    y, x = points(case.dimension), image_points(name, case.dimension)
    np.testing.assert_array_equal(run(y, x)[0], make(name, case.parameters).forward(y))


@pytest.mark.parametrize("name", NAMES)
def test_float32_images_of_many_dimensions_pass_validation(name):
    parameters = {"u": np.ones(5000), "w": 0.01 * np.ones(5000), "b": 0.0} if name == "PlanarFlow" else {}
    y = tf.cast(points(5000), tf.float32) - (9.0 if name == "StickBreaking" else 0.0)
    x = make(name, parameters, tf.float32).forward(y)
    assert np.isfinite(make(name, parameters, tf.float32, validate_args=True).inverse(tf.identity(x))).all()


@pytest.mark.parametrize(
    ("name", "parameters"), [(name, parameters) for name in NAMES for parameters in BAD_PARAMETERS[name]]
)
@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_bad_parameters_are_refused_on_validation(name, parameters, wrap):
    run = wrap(lambda: make(name, parameters, validate_args=True).forward(np.zeros((1, 2))))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must be|finite"):
        run()


@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
@pytest.mark.parametrize("name", NAMES)
def test_points_beyond_the_domain_or_the_image_are_refused_on_validation(name, wrap):
    bijector = make(name, CASES[name][1].parameters, validate_args=True)
    beyond_domain, beyond_image = BAD_POINTS[name]
    methods = [(bijector.forward, beyond_domain), (bijector.forward_log_det_jacobian, beyond_domain)]
    for method, bad in [*methods, (bijector.inverse, beyond_image), (bijector.inverse_log_det_jacobian, beyond_image)]:
        for point in bad:
            with pytest.raises(tf.errors.InvalidArgumentError):
                wrap(method)(np.array([point]))


@every_case
def test_bfloat16_is_float32_up_to_its_rounding(name, case):
    y = tf.cast(points(case.dimension), tf.bfloat16)
    half, single = make(name, case.parameters, tf.bfloat16), make(name, case.parameters, tf.float32)
    x = half.forward(y)
    assert x.dtype == half.forward_log_det_jacobian(y).dtype == tf.bfloat16
    expected = single.forward(tf.cast(y, tf.float32))
    np.testing.assert_allclose(tf.cast(x, tf.float32), expected, rtol=0.1, atol=0.01)
