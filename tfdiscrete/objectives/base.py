"""The contract of a training objective: what a step minimises, and what of it bounds log p(x).

    loss = objective(q, prior, log_likelihood, estimator, seed=seed).loss       # [B], nats

An objective owns no weights. What it anneals is a number, or a schedule of the estimator's step, as a temperature is:
saved and restored with the estimator, and advanced by its `update`.

Evaluation (`training=False`) never reports what was weighted for training: its loss is the discrete bound.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions import InvertibleGaussian
from tfdiscrete.errors import InputError, check_name
from tfdiscrete.estimators import Estimate, Estimator
from tfdiscrete.estimators.base import mean_over_samples
from tfdiscrete.objectives.evaluation import Bounds
from tfdiscrete.objectives.relaxed_rate import has_relaxed_density, relaxed_log_ratio, relaxes
from tfdiscrete.objectives.sticking_the_landing import along_the_path

tfd = tfp.distributions

KL_CHOICES = ("analytic", "sampled", "relaxed")


class NegativeElbo(NamedTuple):
    """What an objective returns."""

    loss: tf.Tensor
    """`[B]`, nats: its gradient is the estimator's. Some objectives weigh the batch: then its mean counts."""
    rate: tf.Tensor
    """`[B]`, nats: KL(q || p), or its estimate; no gradient."""
    distortion: tf.Tensor
    """`[B]`, nats: -E log p(x|z); no gradient."""
    estimate: Estimate
    """What the estimator returned."""


class Setting(NamedTuple):
    """What an objective was called with."""

    q: Any
    prior: Any
    log_likelihood: Callable[[tf.Tensor], tf.Tensor]
    estimator: Estimator
    seed: tf.Tensor
    kl: str
    context: tf.Tensor | None
    training: bool

    def expectation(self, cost, **options) -> Estimate:
        """The estimator's; the same noise at each call."""
        return self.estimator.estimate(
            self.q, cost, seed=self.seed, context=self.context, training=self.training, **options
        )

    def analytic_rate(self, dtype) -> tf.Tensor:
        """KL(q || p) in closed form, `[B]`."""
        return tf.cast(self.prior.kl_divergence(self.q), dtype)

    def log_ratio(self, *, sticking_the_landing: bool = False, prior_temperature=None) -> Callable:
        """log q(z) - log p(z) as part of a cost: z `[S, B, *event]` to `[S, B]`."""
        q, prior = self.q, self.prior
        if self.kl == "relaxed":
            # Of the sample that the estimator draws of this seed, as its logarithm: z itself may round to 0.
            ratio = relaxed_log_ratio(
                q,
                prior,
                seed=self.seed,
                num_samples=self.estimator.num_samples,
                temperature=self.estimator.annealed_value(),
                prior_temperature=prior_temperature,
                sticking_the_landing=sticking_the_landing,
            )
            return lambda z: ratio
        if sticking_the_landing:
            return lambda z: along_the_path(q.log_prob, z) - prior.log_prob(z)
        return lambda z: q.log_prob(z) - prior.log_prob(z)


def elbo_terms(setting: Setting, *, weight=None, **options) -> NegativeElbo:
    """Distortion plus `weight` (by default 1) times the rate; `options` are those of `Setting.log_ratio`."""
    if setting.kl == "analytic":
        estimate = setting.expectation(negated(setting.log_likelihood))
        rate = setting.analytic_rate(estimate.value.dtype)
        return NegativeElbo(
            estimate.value + weighted(rate, weight), tf.stop_gradient(rate), tf.stop_gradient(estimate.value), estimate
        )
    log_ratio = setting.log_ratio(**options)

    def cost(z):
        ratio = weighted(log_ratio(z), weight)
        return ratio - tf.cast(setting.log_likelihood(z), ratio.dtype)

    estimate = setting.expectation(cost)
    # The same seed draws the same z, so the rate is that of the samples in the loss. A relaxed ratio is known of them.
    relaxed = setting.kl == "relaxed"
    rate = mean_over_samples(log_ratio(estimate.sample)) if relaxed else setting.expectation(log_ratio).value
    rate = tf.cast(tf.stop_gradient(rate), estimate.value.dtype)
    return NegativeElbo(estimate.value, rate, tf.stop_gradient(estimate.value) - weighted(rate, weight), estimate)


def weighted(tensor: tf.Tensor, weight: tf.Tensor | None) -> tf.Tensor:
    """The tensor times `weight` `[]`, in its own type; None is 1."""
    return tensor if weight is None else tf.cast(weight, tensor.dtype) * tensor


def negated(log_likelihood: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """The cost -log p(x|z), with the shortcuts that the likelihood has."""

    def negative(function):
        return lambda z: -function(z)

    cost = negative(log_likelihood)
    for name in ("neighbours", "shared"):
        if hasattr(log_likelihood, name):
            setattr(cost, name, negative(getattr(log_likelihood, name)))
    return cost


class Objective(abc.ABC):
    """Base of the objectives: a subclass states `kls`, and writes `_train` and `_training_bound`."""

    kls: tuple[str, ...] = KL_CHOICES
    """The KL choices that make sense, the first that suits prior and estimator being "auto"."""

    def __call__(
        self,
        q,
        prior,
        log_likelihood: Callable[[tf.Tensor], tf.Tensor],
        estimator: Estimator,
        *,
        seed: tf.Tensor,
        kl: str = "auto",
        context: tf.Tensor | None = None,
        training: bool = True,
    ) -> NegativeElbo:
        """What a step minimises, or, with `training=False`, what evaluation reports.

        Args:
            q: the posterior, a `Family` or what else the estimator takes, with batch `[B]`.
            prior: a `priors.Prior`.
            log_likelihood: z `[S, B, *event]` to log p(x|z), `[S, B]`. It may have an attribute `neighbours`, z to
                `[S, B, N, K]`, which an estimator uses that scores all codes that differ from z in one variable, and
                `shared`, z `[C, 1, *event]` to `[C, B]`, for one that evaluates the same codes for all examples.
            estimator: how the gradient passes through z.
            seed: int32 `[2]`.
            kl: "analytic", in closed form outside of the estimator; "sampled", inside its cost, of the laws of hard
                samples (at relaxed ones extended linearly, which bounds nothing) or of Gaussians; "relaxed", inside
                its cost, of the densities of the relaxed samples; or "auto", the objective's choice.
            context: passed on to the estimator.
            training: passed on to the estimator; False gives the discrete bound, whatever the objective weighs: `loss`
                is then an upper bound on -log p(x).

        Returns:
            A `NegativeElbo`.

        Raises:
            InputError: for a KL, prior, estimator and objective that do not go together.
        """
        kl = self.choose_kl(kl, prior, estimator, training=training)
        self._check_estimator(estimator)
        if training:
            return self._train(Setting(q, prior, log_likelihood, estimator, seed, kl, context, training))
        kl = self._evaluation_kl(kl, prior)
        if kl == "sampled" and estimator.takes is InvertibleGaussian:
            raise InputError(
                f"{type(estimator).__name__} has a posterior of relaxed samples, whose density is none at hard ones: "
                "evaluate by `discrete_bounds` with the law of the hard samples, ProductCategorical(q.logits), and "
                "take what `evaluated` chooses of them."
            )
        return self._evaluate(Setting(q, prior, log_likelihood, estimator, seed, kl, context, training))

    def choose_kl(self, kl: str, prior, estimator: Estimator, *, training: bool = True) -> str:
        """`kl` itself, or for "auto" the objective's first choice that suits; raises `InputError` if none does.

        Evaluation, with `training=False`, has hard samples, and asks for no density of the relaxed prior.
        """
        check_name("kl", kl, ("auto", *KL_CHOICES))
        if kl != "auto" and kl not in self.kls:
            raise InputError(f"{self._wants()} Received: kl={kl!r}.")
        obstacles = {each: self._obstacle(each, prior, estimator) for each in self.kls}
        if training and obstacles.get("relaxed", "") is None and not has_relaxed_density(prior):
            obstacles["relaxed"] = (
                "kl='relaxed' needs the density of the relaxed prior, which priors of independent variables have, "
                f"and groups and mixtures of them, and {type(prior).__name__} has not."
            )
        suiting = [each for each, obstacle in obstacles.items() if obstacle is None]
        if kl in suiting:
            return kl
        if kl == "auto" and suiting:
            return suiting[0]
        reasons = obstacles if kl == "auto" else [kl]
        if suiting:
            advice = f"Use kl={' or '.join(map(repr, suiting))}."
        elif "analytic" in self.kls:
            advice = "Take a prior with a closed-form KL, 'fixed' or 'learned'."
        else:
            advice = "Take another estimator."
        raise InputError(" ".join(dict.fromkeys([*(str(obstacles[each]) for each in reasons), advice])))

    def bound(self, prior, estimator: Estimator, *, kl: str = "auto", training: bool = True) -> str | None:
        """Of which model's -log p(x) the expected `loss` is an upper bound.

        Returns:
            "discrete" for the model with hard z, "relaxed" for the one with relaxed z and prior, "continuous" for one
            with Gaussian z; "iwae-S", "relaxed-iwae-S" and "continuous-iwae-S" for the bounds of `S` weighted samples;
            None where it is no bound of any.
        """
        kl = self.choose_kl(kl, prior, estimator, training=training)
        self._check_estimator(estimator)
        if training:
            return self._training_bound(estimator, kl)
        return self._evaluated_bound(estimator)

    def evaluated(self, bounds: Bounds) -> tf.Tensor:
        """Of the bounds by hard samples the one that evaluation reports, `[B]`."""
        return bounds.elbo

    @abc.abstractmethod
    def _train(self, setting: Setting) -> NegativeElbo:
        """The training loss."""

    def _evaluate(self, setting: Setting) -> NegativeElbo:
        return elbo_terms(setting)

    def _evaluation_kl(self, kl: str, prior) -> str:
        if kl != "relaxed":
            return kl
        return "analytic" if prior.has_analytic_kl else "sampled"

    @abc.abstractmethod
    def _training_bound(self, estimator: Estimator, kl: str) -> str | None:
        """`bound` of the training loss."""

    def _evaluated_bound(self, estimator: Estimator) -> str:
        return "continuous" if estimator.takes is tfd.Distribution else "discrete"

    def _check_estimator(self, estimator: Estimator) -> None:
        """Raises `InputError` for an estimator that the objective cannot use; by default it can use all."""
        return  # AutoGraph cannot read a body without a statement.

    def _wants(self) -> str:
        return f"{type(self).__name__} takes kl in {', '.join(map(repr, self.kls))} or 'auto'."

    def _obstacle(self, kl: str, prior, estimator: Estimator) -> str | None:
        """What is wrong with this KL, a sentence; None if nothing is."""
        name = type(estimator).__name__
        if kl == "analytic" and not prior.has_analytic_kl:
            return f"{type(prior).__name__} has no closed-form KL, as kl='analytic' needs."
        if kl == "relaxed" and not relaxes(estimator):
            return (
                "kl='relaxed' compares densities of relaxed samples: it takes an estimator that draws nothing else, "
                "'gumbel_softmax', 'generalized_gumbel_softmax' without rao_blackwell or 'invertible_gaussian' without "
                f"straight_through. Received: {name}."
            )
        if kl == "sampled" and estimator.takes is InvertibleGaussian:
            return f"{name} draws from a density, and kl='sampled' compares probabilities of hard samples."
        return None

    def get_config(self) -> dict:
        """What `keras.saving` needs to make the objective again."""
        return {}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        return cls(**config)


def elbo_bound(estimator: Estimator, kl: str) -> str | None:
    """Of what distortion plus rate is an upper bound, at the samples that this estimator draws for training."""
    if estimator.takes is tfd.Distribution:
        return "continuous"
    if "hard" in estimator.needs:
        return "discrete"
    # The analytic KL of invertible Gaussians is that of their relaxed samples.
    of_densities = kl == "relaxed" or (kl == "analytic" and estimator.takes is InvertibleGaussian)
    return "relaxed" if of_densities else None
