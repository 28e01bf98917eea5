"""The KL between relaxed densities, estimated at the relaxed samples.

    E_{y ~ q~}[log q~(y) - log p~(y)]

Beside a likelihood at the same relaxed y it gives a bound on log p~(x), the evidence of the model whose z is relaxed;
a categorical KL in its place gives no bound. Gumbel-Softmax samples are compared as logarithms (the exp-concrete form),
invertible Gaussian ones before the map onto the simplex: posterior and prior share it, so that its Jacobian cancels.

Chris J. Maddison, Andriy Mnih, Yee Whye Teh (2017), "The Concrete Distribution", arXiv 1611.00712, appendix C.
Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588.
"""

import functools

import tensorflow as tf

from tfdiscrete.distributions import GumbelSoftmax, InvertibleGaussian, ProductCategorical, ProductMixed, ProductNormal
from tfdiscrete.errors import InputError
from tfdiscrete.estimators import Estimator
from tfdiscrete.estimators import GumbelSoftmax as GumbelSoftmaxEstimator
from tfdiscrete.objectives.sticking_the_landing import along_the_path


def relaxes(estimator: Estimator) -> bool:
    """Whether the estimator's cost is taken at `q.relax` of its seed and temperature, and nowhere else."""
    return isinstance(estimator, GumbelSoftmaxEstimator) and "hard" not in estimator.needs and estimator.any_reduce


@functools.singledispatch
def relaxed_point(q, seed, num_samples, temperature) -> tf.Tensor:
    """The sample that `q.relax` draws of this seed, at which `relaxed_log_prob` is evaluated: `[S, B, N, ...]`.

    A law registers its own, as it does for `relaxed_log_prob`.
    """
    raise InputError(
        "kl='relaxed' needs a posterior whose relaxation has a density: ProductCategorical, InvertibleGaussian, or a "
        f"ProductMixed of the former. Received: {q!r}. Use kl='analytic' or 'sampled'."
    )


@functools.singledispatch
def relaxed_log_prob(law, point, temperature) -> tf.Tensor:
    """The log density of the law's relaxation at a `relaxed_point`, `[S, B, N, ...]` to `[S, B]`.

    A prior of independent variables has that of its `distribution`, a mixture that of its `components`, one of groups
    the sum of its `parts`' `with_samples`; another one registers its own:

        @relaxed_log_prob.register
        def _(law: MyPrior, point, temperature): ...
    """
    distribution = getattr(law, "distribution", None)
    if callable(distribution):
        return relaxed_log_prob(distribution(), point, temperature)
    components = getattr(law, "components", None)
    if callable(components):
        log_weights, laws = components()
        each = relaxed_log_prob(laws, tf.expand_dims(point, -1 - len(laws.event_shape)), temperature)
        return tf.reduce_logsumexp(tf.cast(log_weights, each.dtype) + each, axis=-1)
    with_samples = getattr(law, "with_samples", None)
    if callable(with_samples):
        return sum(relaxed_log_prob(part, own, temperature) for part, own in with_samples(point))
    raise InputError(
        f"kl='relaxed' needs the density of the relaxed prior, and {type(law).__name__} gives none. Use a prior of "
        "independent variables, such as 'fixed' or 'learned', a mixture of them or groups of such priors, or "
        "kl='analytic' or 'sampled'."
    )


@relaxed_point.register
def _(q: ProductCategorical, seed, num_samples, temperature):
    return q.relax(seed, num_samples, temperature)


@relaxed_log_prob.register
def _(law: ProductCategorical, point, temperature):
    temperature = tf.cast(tf.convert_to_tensor(temperature, dtype_hint=point.dtype), point.dtype)
    concrete = GumbelSoftmax(temperature, tf.cast(law.logits, point.dtype))
    return tf.reduce_sum(concrete.log_prob_of_log(point), axis=-1)


@relaxed_point.register
def _(q: InvertibleGaussian, seed, num_samples, temperature):
    return ProductNormal(q.loc, q.scale, 2).sample(num_samples, seed=seed)


@relaxed_log_prob.register
def _(law: InvertibleGaussian, point, temperature):
    return relaxed_log_prob(ProductNormal(law.loc, law.scale, 2), point, temperature)


@relaxed_point.register
def _(q: ProductMixed, seed, num_samples, temperature):
    return q.join(relaxed_point(q.discrete, seed, num_samples, temperature), q.path(seed, num_samples))


@relaxed_log_prob.register
def _(law: ProductNormal, point, temperature):
    loc, scale = tf.cast(law.loc, point.dtype), tf.cast(law.scale, point.dtype)
    return ProductNormal(loc, scale, len(law.event_shape)).log_prob(point)


@relaxed_log_prob.register
def _(law: ProductMixed, point, temperature):
    log_y, c = law.split(point)
    return relaxed_log_prob(law.discrete, log_y, temperature) + relaxed_log_prob(law.continuous, c, temperature)


def has_relaxed_density(law) -> bool:
    """Whether `relaxed_log_prob` knows that of a prior or law."""
    registered = relaxed_log_prob.dispatch(type(law)) is not relaxed_log_prob.dispatch(object)
    if not registered and hasattr(law, "with_samples"):
        return all(has_relaxed_density(part) for part in law.parts)
    return registered or any(callable(getattr(law, name, None)) for name in ("distribution", "components"))


def relaxed_log_ratio(
    q, prior, *, seed, num_samples: int, temperature, prior_temperature=None, sticking_the_landing: bool = False
) -> tf.Tensor:
    """log q~(y) - log p~(y) at the relaxed samples of a seed, differentiable.

    Args:
        q: the posterior, batch `[B]`.
        prior: a `priors.Prior`, or a law.
        seed: int32 `[2]`, as for `q.relax`.
        num_samples: `S`.
        temperature: of the posterior's relaxation.
        prior_temperature: of the prior's; by default the posterior's. It makes no difference to invertible Gaussians,
            which share the map.
        sticking_the_landing: whether the gradient of log q~ passes through the samples alone.

    Returns:
        `[S, B]`.
    """
    point = relaxed_point(q, seed, num_samples, temperature)

    def log_q(at):
        return relaxed_log_prob(q, at, temperature)

    own = along_the_path(log_q, point) if sticking_the_landing else log_q(point)
    return own - relaxed_log_prob(prior, point, temperature if prior_temperature is None else prior_temperature)
