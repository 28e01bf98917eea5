"""The ELBO with a weight on the rate.

    distortion + beta rate

beta > 1 is the beta-VAE, beta < 1 spends more rate on the data, and beta rising from 0 to 1 is the KL's warm-up. Beta
falling to 1 is annealing: at first all codes share the data, so that fewer are left unused where one variable has many
categories. Over all beta the optima trace the rate-distortion curve, of slope -beta.

Irina Higgins and others (2017), "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework",
ICLR.
Alexander A. Alemi, Ben Poole, Ian Fischer, Joshua V. Dillon, Rif A. Saurous, Kevin Murphy (2018), "Fixing a Broken
ELBO", arXiv 1711.00464.
"""

import keras

from tfdiscrete.objectives.elbo import ELBO
from tfdiscrete.objectives.scheduled import Scheduled, check_scheduled, scheduled_at
from tfdiscrete.ops.temperature import Schedule, deserialize_temperature, serialize_temperature


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class BetaELBO(ELBO):
    """Distortion plus `beta` times the rate; evaluation reports the ELBO itself.

    A number of at least 1 leaves the training loss an upper bound on -log p(x), a looser one; other weights none.

    Example:

        BetaELBO(keras.optimizers.schedules.PolynomialDecay(8.0, decay_steps=20_000, end_learning_rate=1.0))

    Args:
        beta: a number of at least 0, or a schedule of the estimator's step.
        **kwargs: those of `ELBO`.

    Raises:
        InputError: for a negative number.
    """

    def __init__(self, beta: Scheduled = 4.0, **kwargs):
        super().__init__(**kwargs)
        self.beta = check_scheduled("beta", deserialize_temperature(beta))

    def weight(self, step):
        return scheduled_at(self.beta, step)

    def _training_bound(self, estimator, kl):
        if isinstance(self.beta, Schedule) or self.beta < 1.0:
            return None
        return super()._training_bound(estimator, kl)

    def get_config(self):
        return {**super().get_config(), "beta": serialize_temperature(self.beta)}
