import keras
import numpy as np
import pytest

from tfdiscrete.bijectors import PlanarFlow, StickBreaking
from tfdiscrete.bijectors.owned_flow import FLOWS, add_flow_weights, flow_of


@pytest.mark.parametrize("flow", FLOWS)
def test_a_named_flow_has_its_weights_and_its_kind(flow):
    owner = keras.layers.Layer()
    add_flow_weights(owner, flow, (3, 4), seed=1)
    shapes = {weight.name: tuple(weight.shape) for weight in owner.trainable_weights}
    assert shapes == ({"u": (3, 4), "w": (3, 4), "b": (3,)} if flow == "planar" else {})
    kinds = {"none": type(None), "planar": PlanarFlow, "stick_breaking": StickBreaking}
    assert type(flow_of(owner, flow)) is kinds[flow]


def test_a_planar_flow_has_the_weights_of_its_owner_at_the_moment():
    owner = keras.layers.Layer()
    add_flow_weights(owner, "planar", (3, 4), seed=1)
    y = np.random.default_rng(0).normal(size=(5, 3, 4)).astype("float32")
    before = flow_of(owner, "planar").forward(y)
    owner.w.assign(np.zeros((3, 4)))
    np.testing.assert_array_equal(flow_of(owner, "planar").forward(y), y)
    assert (np.asarray(before) != y).any()
