"""DisARM, also called U2G: ARM without the variance of the noise given the codes.

    grad_a E[f(b)] = E[1/2 (f(b) - f(b~)) (-1)^{b~} 1[b != b~] sigmoid(|a|)],    b ~ Bernoulli(sigmoid(a))

since for b = 1[u > sigmoid(-a)] and its mirror image b~ = 1[u < sigmoid(a)]

    E[u - 1/2 | b, b~] = 1/2 (b - b~) sigmoid(|a|)

Zhe Dong, Andriy Mnih, George Tucker (2020), "DisARM: An Antithetic Gradient Estimator for Binary Latent Variables",
arXiv 2006.10680.
Mingzhang Yin, Nhat Ho, Bowei Yan, Xiaoning Qian, Mingyuan Zhou (2020), "Probabilistic Best Subset Selection via
Gradient-Based Optimization", arXiv 2006.06448 (U2G).
"""

import keras
import tensorflow as tf

from tfdiscrete.estimators.antithetic_bits import AntitheticBits


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class DisARM(AntitheticBits):
    """Weights the difference of two antithetic evaluations by what the bits tell of their noise.

    Approximates: grad E_q[f(z)].
    With: 1/2 (f(z(b)) - f(z(b~))) (-1)^{b~_i} 1[b_i != b~_i] sigmoid(|a_i|) for each bit i, averaged over pairs; more
        than two categories are bits by stick breaking, in the order of the categories (see `antithetic_bits`).
    Requires: f at hard z; nothing of its gradient with respect to z.
    Returns: as `sample`, one-hot z, decoded, `[2 S, *batch, *event]`: the codes of all pairs, then their mirror images.

    Bias: none. Variance: at or below that of `ARM`, of which it is the expectation given the bits.
    Evaluations of f: `2 S`.
    Source: Dong, Mnih, Tucker (2020), arXiv 2006.10680, and of categories (2021), arXiv 2106.08056.

    Args:
        num_samples: pairs for each example, `S`.

    Raises:
        InputError: for a count of pairs below 1; from `estimate`, as `Estimator.estimate`.
    """

    def _weights(self, u, bits, mirrored, bit_logits):
        return 0.5 * (bits - mirrored) * tf.sigmoid(tf.abs(bit_logits))
