"""Active units and used codes of a categorical posterior over a data set.

A latent variable is active if its posterior depends on x: the variance over x of its posterior mean, summed over the
categories, exceeds a threshold.

Yuri Burda, Roger Grosse, Ruslan Salakhutdinov (2016), "Importance Weighted Autoencoders", arXiv 1509.00519.
"""

import numpy as np


def active_latents(probabilities, *, threshold: float = 0.01) -> np.ndarray:
    """Which latent variables are active, bool `[N]`.

    Example:

        active_latents([[[0.9, 0.1]], [[0.1, 0.9]]])        # [True]

    Args:
        probabilities: `[B, N, K]`, posterior probabilities of a data set.
        threshold: of the summed variance; 0.01 is the source's.
    """
    probabilities = np.asarray(probabilities, np.float64)
    return probabilities.var(axis=0).sum(axis=-1) > threshold


def active_units(probabilities, *, threshold: float = 0.01) -> int:
    """The number of active latent variables, of `N`; arguments as for `active_latents`.

    Example:

        active_units([[[0.9, 0.1]], [[0.1, 0.9]]])      # 1
    """
    return int(active_latents(probabilities, threshold=threshold).sum())


def codes_used(index, num_categories: int) -> int:
    """How many of the `N * K` (variable, category) pairs are the most likely one for some example.

    Hand it the active variables' columns alone: an inactive one's arg max wanders without a meaning.

    Example:

        codes_used([[0, 3], [1, 3]], 4)     # 3

    Args:
        index: `[B, N]`, integers in `[0, K)`.
        num_categories: `K`.
    """
    return int((latent_usage(index, num_categories) > 0).sum())


def latent_usage(index, num_categories: int) -> np.ndarray:
    """The fraction of examples whose variable n has category k, `[N, K]`.

    Example:

        latent_usage([[0], [1]], 3)     # [[0.5, 0.5, 0.0]]

    Args:
        index: `[B, N]`, integers in `[0, K)`.
        num_categories: `K`.
    """
    index = np.asarray(index)
    return np.stack([(index == category).mean(axis=0) for category in range(num_categories)], axis=-1)


def distinct_codes(index) -> int:
    """The number of different whole codes, `[B, N]` rows, in a data set; hand it the active variables' alone.

    Example:

        distinct_codes([[0, 3], [1, 3], [0, 3]])        # 2
    """
    index = np.asarray(index)
    return len(np.unique(index, axis=0)) if index.shape[1] else min(len(index), 1)
