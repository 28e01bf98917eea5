import itertools

import numpy as np
import pytest

from tfdiscrete.ops.all_codes import all_codes


@pytest.mark.parametrize(("latents", "categories"), [(1, 1), (1, 7), (3, 2), (2, 5)])
def test_all_codes_are_the_cartesian_product_the_last_variable_fastest(latents, categories):
    expected = list(itertools.product(range(categories), repeat=latents))
    np.testing.assert_array_equal(all_codes(latents, categories), expected)
