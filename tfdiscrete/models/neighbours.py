"""A decoder at all codes that differ from one in a single variable.

Its first dense layer is affine in the code, so that changing variable n to category k moves it by one row of the
kernel,

    a(z with z_n = e_k) = a(z) - W_n z_n + W_{nk}

which replaces a product with all `N K` rows for each of the `N K` codes.
"""

import keras
import tensorflow as tf

from tfdiscrete.estimators.neighbours import other_categories

# Others, such as dropout or batch normalization, may give other scores in training than the cost has.
_DETERMINISTIC = (
    keras.layers.Activation,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Dense,
    keras.layers.Flatten,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    keras.layers.Reshape,
    keras.layers.UpSampling2D,
)


def decode_neighbours(decoder: keras.Model, z: tf.Tensor) -> tf.Tensor:
    """The decoder's output at all codes that differ from z in one variable, and at z.

    Args:
        decoder: codes `[B, N, K]` to the likelihood's parameters, one that `starts_dense`.
        z: one-hot codes, `[S, B, N, K]`.

    Returns:
        `[N (K - 1) + 1, S, B, *parameters]`, without a gradient: in the order of `estimators.neighbours`, z last.
    """
    dense, *rest = _layers_from_the_first_dense(decoder)
    latents, categories = z.shape[-2:]
    kernel = tf.cast(dense.kernel, dense.compute_dtype)
    # Rows of the kernel, with the variables first: [N, S, B, H] and [N, K - 1, S, B, H].
    first_rows = categories * tf.range(latents)
    own_rows = tf.transpose(first_rows + tf.argmax(z, axis=-1, output_type=tf.int32), [2, 0, 1])
    own = tf.gather(kernel, own_rows)
    other = tf.gather(kernel, tf.transpose(first_rows + other_categories(z), [3, 0, 1, 2]))
    at_z = tf.reduce_sum(own, axis=0) + (0.0 if dense.bias is None else tf.cast(dense.bias, kernel.dtype))
    changed = (at_z - own)[:, tf.newaxis] + other
    changed = tf.reshape(changed, tf.concat([[latents * (categories - 1)], tf.shape(at_z)], axis=0))
    hidden = tf.concat([changed, at_z[tf.newaxis]], axis=0)
    output = dense.activation(tf.reshape(hidden, [-1, dense.units]))
    for layer in rest:
        output = layer(output)
    output = tf.reshape(output, tf.concat([tf.shape(hidden)[:-1], tf.shape(output)[1:]], axis=0))
    count = latents * (categories - 1) + 1
    return tf.stop_gradient(tf.ensure_shape(output, [count, *z.shape[:2], *decoder.output_shape[1:]]))


def is_deterministic(decoder: keras.Model) -> bool:
    """Whether a decoder is a functional model of deterministic Keras layers alone, which treat each code by itself."""
    # A functional model's operations are its layers, and what `keras.ops` did between them.
    operations = getattr(decoder, "operations", decoder.layers)
    known = all(type(each) in (*_DETERMINISTIC, keras.layers.InputLayer) for each in operations)
    return known and bool(getattr(decoder, "inputs", None))


def starts_dense(decoder: keras.Model) -> bool:
    """Whether a decoder is a chain of deterministic Keras layers of which the first, but for a flattening, is dense."""
    return bool(_layers_from_the_first_dense(decoder))


def _layers_from_the_first_dense(decoder: keras.Model) -> list[keras.layers.Layer]:
    """The decoder's layers from the dense one that reads the flattened code on; none if it is no such chain."""
    layers = [layer for layer in decoder.layers if not isinstance(layer, keras.layers.InputLayer)]
    if not getattr(decoder, "inputs", None) or len(decoder.inputs) != 1:
        return []
    tensor = decoder.inputs[0]
    for layer in layers:
        if len(layer._inbound_nodes) != 1 or layer.input is not tensor:
            return []
        tensor = layer.output
    if tensor is not decoder.outputs[0]:
        return []
    if not is_deterministic(decoder):
        return []
    if layers and isinstance(layers[0], keras.layers.Flatten) and layers[0].data_format == "channels_last":
        layers = layers[1:]
    # A dense layer on rows of the code is not dense in all of it.
    starts_flat = bool(layers) and type(layers[0]) is keras.layers.Dense and len(layers[0].input.shape) == 2
    return layers if starts_flat else []
