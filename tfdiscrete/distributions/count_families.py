"""The count laws that a layer names: how an unconstrained input becomes a law, and a prior's parameter another."""

import math
import numbers

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.errors import InputError, check_count

tfd = tfp.distributions


class CountFamily:
    """A family of count laws with its fixed `total_count`, if it has one.

    Subclasses write `make` and `of_parameter`.
    """

    name = ""
    counted = False
    """Whether it has a `total_count`."""
    vector = False
    """Whether an outcome is a vector of counts."""

    def __init__(self, total_count: int | None = None):
        if self.counted:
            self.total_count = float(check_count("total_count", total_count))  # type: ignore[arg-type]
        elif total_count is not None:
            raise InputError(f"{self.name!r} has no total_count: leave it out. Received: total_count={total_count!r}.")

    def make(self, inputs: tf.Tensor) -> tfd.Distribution:
        """The law of unconstrained inputs, float32 or float64."""
        raise NotImplementedError

    def of_parameter(self, parameter: float) -> tfd.Distribution:
        """The law of a parameter in its own units, such as a rate."""
        raise NotImplementedError

    def example(self, num_categories: int | None) -> tfd.Distribution:
        """Some law of the family, whose support is that of all."""
        return self.of_parameter(0.5)

    def reference(self, tolerance, prior) -> list[tfd.Distribution] | None:
        """The laws at which a tolerance is measured; None without one."""
        if tolerance is None:
            if prior is not None:
                raise InputError(f"prior places the ends by a tolerance: pass it too. Received: prior={prior!r} alone.")
            return None
        ends = prior if isinstance(prior, list | tuple) else [prior]
        if not ends or not all(self._admits(end) for end in ends):
            raise InputError(
                f"tolerance needs prior, {self.wanted}, or the pair of a range's ends. Received: prior={prior!r}."
            )
        return [self.of_parameter(float(end)) for end in ends]

    def unconstrained(self, parameter: float) -> float:
        """The input of which `make` gives the law of a parameter: the log odds of a probability."""
        return math.log(parameter) - math.log1p(-parameter)

    wanted = "a success probability in (0, 1)"

    def _admits(self, parameter) -> bool:
        return isinstance(parameter, numbers.Real) and 0.0 < float(parameter) < 1.0


class PoissonFamily(CountFamily):
    """Rate softplus(x)."""

    name = "poisson"
    wanted = "a positive rate"

    def make(self, inputs):
        # log softplus(x), which is x where softplus(x) underflows
        log_rate = tf.where(inputs < -15.0, inputs, tf.math.log(tf.nn.softplus(tf.maximum(inputs, -15.0))))
        return tfd.Poisson(log_rate=log_rate)

    def of_parameter(self, parameter):
        return tfd.Poisson(rate=tf.constant(parameter, tf.float64))

    def unconstrained(self, parameter):
        # log(e^rate - 1), the inverse of softplus
        return parameter + math.log(-math.expm1(-parameter))

    def _admits(self, parameter):
        return isinstance(parameter, numbers.Real) and 0.0 < float(parameter) < float("inf")


class GeometricFamily(CountFamily):
    """Failures before the first success, of log odds x."""

    name = "geometric"

    def make(self, inputs):
        return tfd.Geometric(logits=inputs)

    def of_parameter(self, parameter):
        return tfd.Geometric(probs=tf.constant(parameter, tf.float64))


class BinomialFamily(CountFamily):
    """Successes of log odds x among `total_count` trials."""

    name = "binomial"
    counted = True

    def make(self, inputs):
        return tfd.Binomial(self.total_count, logits=inputs)

    def of_parameter(self, parameter):
        return tfd.Binomial(self.total_count, probs=tf.constant(parameter, tf.float64))


class NegativeBinomialFamily(CountFamily):
    """Successes of log odds x before `total_count` failures."""

    name = "negative_binomial"
    counted = True

    def make(self, inputs):
        return tfd.NegativeBinomial(self.total_count, logits=inputs)

    def of_parameter(self, parameter):
        return tfd.NegativeBinomial(self.total_count, probs=tf.constant(parameter, tf.float64))


class MultinomialFamily(CountFamily):
    """`total_count` draws among categories of logits x."""

    name = "multinomial"
    counted = True
    vector = True

    def make(self, inputs):
        return tfd.Multinomial(self.total_count, logits=inputs)

    def example(self, num_categories):
        return tfd.Multinomial(self.total_count, logits=tf.zeros([check_count("num_categories", num_categories)]))

    def reference(self, tolerance, prior):
        if prior is not None:
            raise InputError(f"'multinomial' is enumerated, not cut: leave prior out. Received: prior={prior!r}.")
        return None


FAMILIES: dict[str, type[CountFamily]] = {
    family.name: family
    for family in (PoissonFamily, GeometricFamily, BinomialFamily, NegativeBinomialFamily, MultinomialFamily)
}
