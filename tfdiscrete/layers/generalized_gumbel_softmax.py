"""The generalized Gumbel-Softmax layer: parameters of a count law in, relaxed or straight-through counts out.

    z = T(y) = sum_k c_k y_k,    y = softmax((log pi + G) / temperature),    G standard Gumbel

with pi the pmf of the truncated law over its outcomes c (explicit inference), or given by the network (implicit).

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847.
"""

import keras
import tensorflow as tf

from tfdiscrete.distributions import Truncated
from tfdiscrete.distributions.count_families import FAMILIES, CountFamily
from tfdiscrete.errors import InputError, check_name
from tfdiscrete.layers.stochastic import RelaxedLayer
from tfdiscrete.ops import gumbel_max, linear_transform, perturb, relaxed_one_hot
from tfdiscrete.ops.precision import widen
from tfdiscrete.ops.temperature import Temperature

RETURNS = ("outcome", "simplex")


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class GeneralizedGumbelSoftmax(RelaxedLayer):
    """Samples counts, relaxed, from a Poisson, geometric, binomial, negative binomial or multinomial law.

    The support is static: its ends are given, or chosen so that under the prior at most `tolerance` lies beyond them.
    What `family` makes of an unconstrained input x, and what `prior` is:

        "poisson"               rate softplus(x)                                    prior: the rate
        "geometric"             failures before a success of log odds x             prior: the success probability
        "negative_binomial"     successes of log odds x before total_count failures prior: the success probability
        "binomial"              successes of log odds x among total_count           prior: the success probability
        "multinomial"           total_count draws among D categories of logits x    no ends and no prior

    With `explicit=False` the network gives the logits of the pmf itself, and the family only its outcomes; a KL to the
    family's law then keeps the pmf near it. `distribution(inputs)` is that law, for the KL and the metrics.

    Example:

        model = keras.Sequential([
            keras.layers.Dense(20),
            tfdiscrete.layers.GeneralizedGumbelSoftmax("poisson", prior=3.0, tolerance=1e-6, temperature=0.5),
        ])
        model(tf.zeros([5, 8]), training=True).shape      # [5, 20]

    Args:
        family: a name of the list above.
        low: the least outcome kept; by default 0.
        high: the largest outcome kept; by default `total_count` for "binomial".
        tolerance: in (0, 1): chooses each end that is not given by the prior's tails.
        prior: a number, or the pair of a range's ends.
        total_count: of "binomial", "negative_binomial" and "multinomial".
        explicit: whether inputs are parameters of the law (True) or logits of the pmf.
        num_categories: D of an implicit "multinomial"; otherwise left out.
        returns: "outcome", z; or "simplex", y itself, for a following `OutcomeTransform`.
        max_support: the largest number of outcomes.
        temperature, hard, inference, seed: as for `GumbelSoftmax`. With `hard=True` samples are exact outcomes with the
            relaxed gradient; "mean" is the mean count.

    Call arguments:
        inputs: `[..., N]` parameters, one variable each; for "multinomial" `[..., D]` logits; with `explicit=False`
            `[..., K]` logits of the outcomes.
        training: whether to sample.

    Returns:
        z: `[..., N]`; for "multinomial" `[..., D]`; with `explicit=False` `[...]` (or `[..., D]`). With
        `returns="simplex"` y, `[..., N, K]`, `[..., K]` where the last axis of the inputs was consumed. In the compute
        dtype: bfloat16 holds counts to 256 exactly, float16 to 2048; the rest is computed in float32 at least.

    Raises:
        InputError: for an unknown name, ends or a tolerance that `Truncated` refuses, a tolerance without a
            prior, an option that the family does not take, or inputs of the wrong last dimension.
    """

    def __init__(
        self,
        family: str = "poisson",
        low: int | None = None,
        high: int | None = None,
        tolerance: float | None = None,
        prior: float | tuple[float, float] | None = None,
        total_count: int | None = None,
        explicit: bool = True,
        num_categories: int | None = None,
        returns: str = "outcome",
        max_support: int = 4096,
        temperature: Temperature = 1.0,
        hard: bool = False,
        inference: str = "mode",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(temperature=temperature, hard=hard, inference=inference, seed=seed, **kwargs)
        self.family = check_name("family", family, FAMILIES)
        self.returns = check_name("returns", returns, RETURNS)
        self.low, self.high, self.tolerance = low, high, tolerance
        self.prior = list(prior) if isinstance(prior, tuple) else prior
        self.total_count, self.explicit, self.num_categories = total_count, explicit, num_categories
        self.max_support = max_support
        self._law: CountFamily = FAMILIES[family](total_count)
        if self._law.vector and explicit and num_categories is not None:
            raise InputError("num_categories is the last dimension of the inputs: leave it out with explicit=True.")
        if not self._law.vector and num_categories is not None:
            raise InputError(f"num_categories belongs to 'multinomial' alone. Received: family={family!r}.")
        if not self._law.vector or not explicit:
            self._set_outcomes(num_categories)

    def _set_outcomes(self, num_categories: int | None) -> None:
        """Fixes the outcomes, `[K]` or `[K, D]`, and the ends that they were cut at."""
        with tf.init_scope():
            reference = self._law.reference(self.tolerance, self.prior)
            truncated = Truncated(
                self._law.example(num_categories),
                self.low,
                self.high,
                tolerance=self.tolerance,
                reference=reference,
                max_support=self.max_support,
            )
            self.outcomes = truncated.outcomes.numpy().astype("float64")
        self._ends = {"low": truncated.low, "high": truncated.high} if not self._law.vector else {}

    def build(self, input_shape):
        last = input_shape[-1] if len(input_shape) else None
        if self.explicit and self._law.vector:
            if not last:
                raise InputError(f"logits must have shape [..., D] with D >= 1 static. Received: shape {input_shape}.")
            self._set_outcomes(last)
        self._check_logits(input_shape)
        super().build(input_shape)

    def _check_logits(self, shape):
        if not self.explicit and (len(shape) < 1 or shape[-1] != len(self.outcomes)):
            raise InputError(
                f"logits must have shape [..., K] with K = {len(self.outcomes)}, one for each outcome. Received: shape "
                f"{tuple(shape)}."
            )

    def distribution(self, inputs) -> Truncated:
        """The truncated law of explicit parameters `[..., N]` (or `[..., D]`), float32 at least.

        Raises:
            InputError: with `explicit=False`, where the pmf is no member of the family.
        """
        if not self.explicit:
            raise InputError(
                "with explicit=False the inputs are logits of any pmf over the outcomes. For their KL use "
                "tfd.Categorical(logits=inputs), against tfd.Categorical(logits=Truncated(prior, low, high).logits)."
            )
        return Truncated(self._law.make(widen(inputs)), **self._ends, max_support=self.max_support)

    def _logits(self, inputs) -> tf.Tensor:
        self._check_logits(inputs.shape)
        return self.distribution(inputs).logits if self.explicit else tf.nn.log_softmax(widen(inputs), axis=-1)

    def _transform(self, y) -> tf.Tensor:
        return linear_transform(y, self.outcomes) if self.returns == "outcome" else y

    def _perturb(self, inputs, seed):
        return perturb(self._logits(inputs), 1, seed)[0]

    def _relax(self, perturbed, temperature):
        return self._transform(relaxed_one_hot(perturbed, temperature))

    def _harden(self, perturbed):
        return self._transform(gumbel_max(perturbed))

    def _mode(self, inputs):
        return self._transform(gumbel_max(self._logits(inputs)))

    def _mean(self, inputs):
        return self._transform(tf.exp(self._logits(inputs)))

    def compute_output_shape(self, input_shape):
        consumed = self._law.vector or not self.explicit
        leading = tuple(input_shape[:-1]) if consumed else tuple(input_shape)
        if self._law.vector and self.explicit and not hasattr(self, "outcomes"):
            self._set_outcomes(input_shape[-1])
        return (*leading, *(self.outcomes.shape[1:] if self.returns == "outcome" else self.outcomes.shape[:1]))

    def get_config(self):
        names = ("family", "low", "high", "tolerance", "prior", "total_count", "explicit", "num_categories", "returns")
        return {**super().get_config(), **{name: getattr(self, name) for name in (*names, "max_support")}}
