"""That the check of the mean gradient finds unbiased estimators once a term of their own is wrong."""

import pytest
import tensorflow as tf

from tests.estimators.problems import assert_unbiased, quadratic, random_problem, warm
from tfdiscrete import estimators
from tfdiscrete.estimators import mu_prop
from tfdiscrete.estimators.base import CheckedCost

REPLICATES = 20_000


class BaselineOfAllSamples(estimators.ScoreFunction):
    def _baseline_of(self, costs):
        return tf.reduce_mean(costs, axis=0)


class SampleNotLeftOut(estimators.VIMCO):
    def _without_each(self, costs):
        return tf.zeros_like(costs)[:, tf.newaxis] + 0.5 * costs


class PredictionFromTheCost(estimators.NVIL):
    def _predict(self, context, costs):
        return super()._predict(context, costs) + 0.3 * costs[0]


class ControlVariateWithoutItsPath(estimators.REBAR):
    def _control_variate(self, cost, y, weights):
        values, slope = super()._control_variate(cost, y, weights)
        return values, tf.zeros_like(slope)


class NetworkWithoutItsPath(estimators.RELAX):
    def _control_variate(self, cost, y, weights):
        values, slope = super()._control_variate(cost, y, weights)
        return values, tf.zeros_like(slope)


class HalfTheAugmentation(estimators.ARM):
    def _weights(self, u, bits, mirrored, bit_logits):
        return 0.5 * super()._weights(u, bits, mirrored, bit_logits)


class WithoutTheProbabilityOfDisagreement(estimators.DisARM):
    def _weights(self, u, bits, mirrored, bit_logits):
        return 0.5 * (bits - mirrored)


class OthersOfWeightOne(estimators.RaoBlackwell):
    def _choose(self, log_pi, seed):
        choice = super()._choose(log_pi, seed)
        return choice._replace(weights=tf.concat([choice.weights[:-1], tf.ones_like(choice.weights[-1:])], axis=0))


class LastForItselfAlone(estimators.StochasticRaoBlackwell):
    def _choose(self, log_pi, seed):
        choice = super()._choose(log_pi, seed)
        own = tf.reduce_sum(tf.gather(log_pi, choice.index[-1], batch_dims=log_pi.shape.rank - 1), axis=-1)
        return choice._replace(weights=tf.concat([choice.weights[:-1], tf.exp(own)[tf.newaxis]], axis=0))


class BaselineOfAllInTheSet(estimators.UnorderedSet):
    def _choose(self, log_pi, seed):
        choice = super()._choose(log_pi, seed)
        return choice._replace(signal=lambda costs: costs - tf.reduce_sum(choice.weights * costs, axis=0))


class WithoutTheMeanOfTheExpansion(estimators.MuProp):
    @staticmethod
    def patch(monkeypatch):
        whole = mu_prop.with_gradient_of
        monkeypatch.setattr(mu_prop, "with_gradient_of", lambda t: whole(t) if t.shape.rank == 2 else tf.zeros_like(t))


class NeighboursInTheFirstVariableAlone(estimators.LocalExpectation):
    @staticmethod
    def patch(monkeypatch):
        whole = CheckedCost.neighbours

        def neighbours(self, y, costs):
            table = whole(self, y, costs)
            own = tf.zeros_like(table[..., 1:, :]) + costs[..., tf.newaxis, tf.newaxis]
            return tf.concat([table[..., :1, :], own], axis=-2)

        monkeypatch.setattr(CheckedCost, "neighbours", neighbours)


BROKEN = [
    BaselineOfAllSamples,
    SampleNotLeftOut,
    PredictionFromTheCost,
    ControlVariateWithoutItsPath,
    NetworkWithoutItsPath,
    HalfTheAugmentation,
    WithoutTheProbabilityOfDisagreement,
    OthersOfWeightOne,
    LastForItselfAlone,
    BaselineOfAllInTheSet,
    WithoutTheMeanOfTheExpansion,
    NeighboursInTheFirstVariableAlone,
]


@pytest.mark.parametrize("cls", BROKEN, ids=lambda cls: cls.__name__)
def test_it_is_found(cls, monkeypatch):
    problem = random_problem(quadratic, 3, 3)
    estimator = warm(cls(), problem)
    getattr(cls, "patch", lambda _: None)(monkeypatch)
    with pytest.raises(AssertionError, match="biased by up to"):
        assert_unbiased(estimator, problem, REPLICATES)
