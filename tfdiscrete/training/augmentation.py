"""Changes of images that leave their class as it is."""

import math

import tensorflow as tf

from tfdiscrete.errors import check_non_negative
from tfdiscrete.ops import uniform


class RandomAffine:
    """Shifts, turns, zooms and slants each image by amounts that are uniform between minus and plus a largest one.

    Every pixel takes the value of the nearest one of the image, so that binary images stay binary; what comes in from
    outside is 0.

    Example:

        RandomAffine(shift=2, degrees=10)(tf.ones([10, 28, 28]), tf.constant([0, 1]))       # [10, 28, 28]

    Args:
        shift: in pixels, along each side.
        degrees: of the rotation.
        zoom: of the logarithm of the size, 0.1 for 10 %.
        shear: of the slant, 0.1 for 1 pixel in 10.

    Call arguments:
        x: `[B, H, W]` or `[B, H, W, C]`.
        seed: int32 `[2]`.

    Returns:
        The shape of x.
    """

    def __init__(self, shift: float = 0.0, degrees: float = 0.0, zoom: float = 0.0, shear: float = 0.0):
        self.shift = check_non_negative("shift", shift)
        self.degrees = check_non_negative("degrees", degrees)
        self.zoom = check_non_negative("zoom", zoom)
        self.shear = check_non_negative("shear", shear)

    def __call__(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        x = tf.convert_to_tensor(x)
        limits = tf.constant([self.shift, self.shift, math.radians(self.degrees), self.zoom, self.shear])
        drawn = (2.0 * uniform(tf.stack([tf.shape(x)[0], 5]), seed) - 1.0) * limits
        right, down, angle, zoom, shear = tf.unstack(drawn, axis=-1)
        # Output to input coordinates about the center: the inverse of turning, slanting and zooming.
        size = tf.exp(-zoom)
        a, b = size * tf.cos(angle), size * (shear * tf.cos(angle) - tf.sin(angle))
        c, d = size * tf.sin(angle), size * (shear * tf.sin(angle) + tf.cos(angle))
        middle_x, middle_y = (x.shape[2] - 1) / 2.0, (x.shape[1] - 1) / 2.0
        shift_x = middle_x - a * (middle_x + right) - b * (middle_y + down)
        shift_y = middle_y - c * (middle_x + right) - d * (middle_y + down)
        zero = tf.zeros_like(a)
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=x if x.shape.rank == 4 else x[..., tf.newaxis],
            transforms=tf.stack([a, b, shift_x, c, d, shift_y, zero, zero], axis=-1),
            output_shape=tf.constant([x.shape[1], x.shape[2]]),
            fill_value=0.0,
            interpolation="NEAREST",
            fill_mode="CONSTANT",
        )
        return tf.ensure_shape(moved if x.shape.rank == 4 else moved[..., 0], x.shape)
