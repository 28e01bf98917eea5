"""Arrays that a signature takes: zeros to warm it up, and random ones to try it.

Random integers are 0 or 1, the only ones that are known to be valid for every index, class, count and bit.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf


def example(spec: tf.TensorSpec, *, batch: int = 1, rng: np.random.Generator | None = None) -> np.ndarray:
    """An array of a specification.

    Args:
        spec: of a number or boolean; what has no shape is a scalar.
        batch: of each dynamic size, and the value of a scalar, where an integer is a number of rows.
        rng: if given, real numbers are uniform from 0 to 1, and the others 0 or 1; else all but scalars are zero.
    """
    shape = [batch if size is None else size for size in spec.shape.as_list()] if spec.shape.rank else []
    dtype = spec.dtype.as_numpy_dtype
    if rng is None or (not shape and spec.dtype.is_integer):
        return np.full(shape, 0 if shape else batch, dtype)
    values = rng.random(shape) if spec.dtype.is_floating else rng.integers(0, 2, shape)
    return np.asarray(values).astype(dtype)


def examples(
    specs: Mapping[str, tf.TensorSpec], *, batch: int = 1, rng: np.random.Generator | None = None
) -> dict[str, np.ndarray]:
    """One of each by name, with the options of `example`."""
    return {name: example(spec, batch=batch, rng=rng) for name, spec in specs.items()}
