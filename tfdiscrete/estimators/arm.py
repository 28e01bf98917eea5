"""ARM, augment-REINFORCE-merge: the difference of the cost at two antithetic codes, times the noise.

    grad_a E[f(b)] = E[(f(1[u > sigmoid(-a)]) - f(1[u < sigmoid(a)])) (u - 1/2)],    b ~ Bernoulli(sigmoid(a))

Mingzhang Yin, Mingyuan Zhou (2019), "ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks",
arXiv 1807.11143.
"""

import keras

from tfdiscrete.estimators.antithetic_bits import AntitheticBits


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class ARM(AntitheticBits):
    """Weights the difference of two antithetic evaluations by the noise that made the bits.

    Approximates: grad E_q[f(z)].
    With: (f(z(b)) - f(z(b~))) (u_i - 1/2) for each bit i, averaged over pairs; more than two categories are bits by
        stick breaking, in the order of the categories (see `antithetic_bits`).
    Requires: f at hard z; nothing of its gradient with respect to z.
    Returns: as `sample`, one-hot z, decoded, `[2 S, *batch, *event]`: the codes of all pairs, then their mirror images.

    Bias: none. Variance: at or above that of `DisARM`, which is the expectation of this one given the bits.
    Evaluations of f: `2 S`.
    Source: Yin, Zhou (2019), arXiv 1807.11143; of categories: Dong, Mnih, Tucker (2021), arXiv 2106.08056.

    Args:
        num_samples: pairs for each example, `S`.

    Raises:
        InputError: for a count of pairs below 1; from `estimate`, as `Estimator.estimate`.
    """

    def _weights(self, u, bits, mirrored, bit_logits):
        return u - 0.5
