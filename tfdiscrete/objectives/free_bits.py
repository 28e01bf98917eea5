"""The ELBO in which each latent variable has some rate for free.

    distortion + sum_g max(lambda, E_batch[KL(q(z_g|x) || p(z_g))])

Below lambda nats a group of variables is not pressed towards its prior, so that it need not collapse onto it at the
start of training.

Diederik P. Kingma, Tim Salimans, Rafal Jozefowicz, Xi Chen, Ilya Sutskever, Max Welling (2016), "Improving Variational
Inference with Inverse Autoregressive Flow", arXiv 1606.04934, appendix C.8. The maximum is of the mean over the batch,
as there, and not of each example.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_non_negative
from tfdiscrete.objectives.base import NegativeElbo, Objective, elbo_bound, negated
from tfdiscrete.objectives.batch_mean import batch_mean
from tfdiscrete.objectives.rate_per_latent import rate_per_latent


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class FreeBits(Objective):
    """Distortion plus, for each group of latent variables, the larger of its rate and of what is free.

    An example's loss has its own rate in the groups whose mean over the batch is above `nats`, and `nats` in the
    others: the mean over the batch is the equation's value, and its gradient too. On average over the batch the
    training loss is an upper bound on -log p(x), a looser one; evaluation reports the ELBO, with nothing free.

    Args:
        nats: `lambda`, of each group, at least 0. One bit is 0.693 nats.
        per: "latent" for groups of one variable, or the number of neighbouring variables in a group.

    Raises:
        InputError: for a negative number or a group of none; when called, for a prior whose variables are not
            independent, or a number of variables that the groups do not divide.
    """

    kls = ("analytic",)

    def __init__(self, nats: float = 0.5, per: str | int = "latent"):
        self.nats = check_non_negative("nats", nats)
        if isinstance(per, str) and per != "latent":
            raise InputError(f"per must be 'latent' or the number of variables in a group. Received: per={per!r}.")
        self.per = per if per == "latent" else check_count("per", per)  # type: ignore[arg-type]

    def _train(self, setting):
        estimate = setting.expectation(negated(setting.log_likelihood))
        rates = tf.cast(rate_per_latent(setting.q, setting.prior), estimate.value.dtype)
        groups = self._grouped(rates)
        costly = batch_mean(groups) > self.nats
        penalty = tf.reduce_sum(tf.where(costly, groups, tf.cast(self.nats, groups.dtype)), axis=-1)
        rate = tf.stop_gradient(tf.reduce_sum(rates, axis=-1))
        return NegativeElbo(estimate.value + penalty, rate, tf.stop_gradient(estimate.value), estimate)

    def _grouped(self, rates: tf.Tensor) -> tf.Tensor:
        """`[B, N]` to `[B, N / per]`."""
        size, latents = 1 if self.per == "latent" else int(self.per), rates.shape[-1]
        if latents % size:
            raise InputError(f"groups of per={size} variables must divide their number. Received: {latents} variables.")
        return tf.reduce_sum(tf.reshape(rates, [-1, latents // size, size]), axis=-1)

    def _training_bound(self, estimator, kl):
        return elbo_bound(estimator, kl)

    def get_config(self):
        return {**super().get_config(), "nats": self.nats, "per": self.per}
