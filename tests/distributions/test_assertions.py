import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.distributions import BinaryConcrete, GumbelSoftmax, StraightThroughOneHot

BAD = [np.nan, np.inf, -np.inf]


def with_logits(kind, logits, **options):
    temperature = {} if kind is StraightThroughOneHot else {"temperature": 0.5}
    return kind(logits=logits, **temperature, **options)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", [BinaryConcrete, GumbelSoftmax, StraightThroughOneHot])
def test_logits_that_are_not_finite_are_reported_when_asked(kind, bad, graph):
    def run(logits):
        return with_logits(kind, logits, validate_args=True).sample(seed=[0, 1])

    run = tf.function(run) if graph else run
    assert np.isfinite(run(tf.constant([0.0, 1.0]))).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="logits must be finite"):
        run(tf.constant([0.0, bad]))


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
@pytest.mark.parametrize("kind", [BinaryConcrete, GumbelSoftmax])
def test_a_temperature_that_is_not_positive_is_reported_when_asked(kind, bad, graph):
    def run(temperature):
        return kind(temperature, tf.constant([0.0, 1.0]), validate_args=True).sample(seed=[0, 1])

    run = tf.function(run) if graph else run
    assert np.isfinite(run(tf.constant(0.5))).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="temperature must be positive"):
        run(tf.constant(bad))


@pytest.mark.parametrize("kind", [BinaryConcrete, GumbelSoftmax, StraightThroughOneHot])
def test_nothing_is_checked_unless_asked(kind):
    with_logits(kind, [0.0, np.nan]).sample(seed=[0, 1])
