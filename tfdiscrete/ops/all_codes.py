"""All joint codes of a few categorical variables."""

import numpy as np


def all_codes(num_latents: int, num_categories: int) -> np.ndarray:
    """All `K^N` codes, int64 `[K^N, N]`, the last variable fastest."""
    places = num_categories ** np.arange(num_latents - 1, -1, -1)
    return np.arange(num_categories**num_latents)[:, None] // places % num_categories
