import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.ops import rotation_trick

RNG = np.random.default_rng(0)


def gradient(x, code, upstream):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = rotation_trick(x, tf.constant(code))
    return y.numpy(), tape.gradient(y, x, output_gradients=tf.constant(upstream)).numpy()


def rotation_matrix(x, q):
    """The rotation in the plane of `x` and `q` that takes one's direction to the other's, from its two axes."""
    u, v = x / np.linalg.norm(x), q / np.linalg.norm(q)
    w = v - (u @ v) * u
    w /= np.linalg.norm(w)
    cosine, sine = u @ v, np.sqrt(1 - (u @ v) ** 2)
    plane = np.stack([u, w], axis=1)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.eye(len(x)) - plane @ plane.T + plane @ turn @ plane.T


@pytest.mark.parametrize("dimension", [2, 3, 16])
def test_forward_is_the_code_and_backward_the_transposed_rotation_and_rescaling(dimension):
    x, code, upstream = RNG.normal(size=(3, 20, dimension))
    y, result = gradient(x, code, upstream)
    np.testing.assert_array_equal(y, code)
    for row in range(20):
        rotation = rotation_matrix(x[row], code[row])
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(dimension), atol=1e-12)
        scale = np.linalg.norm(code[row]) / np.linalg.norm(x[row])
        np.testing.assert_allclose(scale * rotation @ x[row], code[row], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(result[row], scale * rotation.T @ upstream[row], rtol=1e-9, atol=1e-12)


def test_the_angle_of_gradient_and_code_is_that_of_its_image_and_the_input():
    x, code, upstream = RNG.normal(size=(3, 50, 8))
    _, result = gradient(x, code, upstream)

    def cosine(a, b):
        return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)

    np.testing.assert_allclose(cosine(result, x), cosine(upstream, code), rtol=1e-9)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_parallel_vectors_are_rescaled_alone(scale):
    x, upstream = RNG.normal(size=(2, 10, 4)).astype("float32")
    _, result = gradient(x, np.float32(scale) * x, upstream)
    np.testing.assert_allclose(result, scale * upstream, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tilt", [0.0, 1e-7, 1e-5])
def test_antiparallel_vectors_are_reflected(tilt):
    x = np.array([[1.0, 2.0, -2.0]], "float32")
    code = -2.0 * x + np.float32(tilt)
    upstream = np.array([[1.0, 0.5, 3.0]], "float32")
    _, result = gradient(x, code, upstream)
    u = x[0] / 3.0
    np.testing.assert_allclose(result[0], 2.0 * (upstream[0] - 2.0 * u * (u @ upstream[0])), rtol=1e-4)


def test_near_antiparallel_vectors_keep_the_gradient_s_length():
    x = RNG.normal(size=(200, 8)).astype("float32")
    code = -x + (10.0 ** RNG.uniform(-8, 0, size=(200, 1))).astype("float32") * RNG.normal(size=(200, 8))
    upstream = RNG.normal(size=(200, 8)).astype("float32")
    _, result = gradient(x, code.astype("float32"), upstream)
    scale = np.linalg.norm(code, axis=-1) / np.linalg.norm(x, axis=-1)
    lengths = np.linalg.norm(result, axis=-1) / scale / np.linalg.norm(upstream, axis=-1)
    np.testing.assert_allclose(lengths, 1.0, rtol=5e-3)


def test_zero_vectors_pass_the_gradient_or_stop_it():
    x = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0], [1e-30, 0.0], [1e-8, 0.0]], "float32")
    code = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1e-30, 0.0], [1.0, 0.0]], "float32")
    upstream = np.array([[3.0, 4.0]] * 5, "float32")
    y, result = gradient(x, code, upstream)
    np.testing.assert_array_equal(y, code)
    np.testing.assert_allclose(result, [[3.0, 4.0], [0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [3.0, 4.0]], rtol=1e-6)


def test_the_code_gets_no_gradient_and_a_nan_stays_visible():
    x, code = tf.constant([[1.0, np.nan]]), tf.constant([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch(code)
        y = rotation_trick(x, code)
    assert tape.gradient(y, code) is None
    np.testing.assert_array_equal(np.isnan(y), [[False, True]])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_agree_with_eager(jit_compile):
    x, code, upstream = RNG.normal(size=(3, 20, 4)).astype("float32")
    compiled = tf.function(lambda x: rotation_trick(x, tf.constant(code)), jit_compile=jit_compile)
    constant = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(constant)
        y = compiled(constant)
    expected = gradient(x, code, upstream)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_allclose(
        tape.gradient(y, constant, output_gradients=tf.constant(upstream)), expected[1], rtol=1e-4
    )
