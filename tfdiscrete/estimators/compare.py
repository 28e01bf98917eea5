"""Bias, variance and cost of gradient estimators, measured on one problem.

Of draws g_1..g_R of a gradient estimator and the exact gradient g,

    bias      ||mean_r g_r - g||, which noise alone makes about sqrt(tr Cov / R)
    variance  tr Cov = sum_r ||g_r - mean||^2 / (R - 1)
    SNR       (||mean||^2 - tr Cov / R) / tr Cov, an unbiased numerator
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import keras
import numpy as np
import scipy.stats
import tensorflow as tf

from tfdiscrete.distributions import ProductMixed, is_family
from tfdiscrete.errors import InputError, check_count, check_positive, check_seed
from tfdiscrete.estimators.base import Estimator
from tfdiscrete.estimators.check import check
from tfdiscrete.estimators.enumeration import Enumeration
from tfdiscrete.estimators.problems import Problem
from tfdiscrete.estimators.problems import get as get_problem
from tfdiscrete.estimators.score_function import ScoreFunction
from tfdiscrete.ops import fold_in, seed_of

Estimators = str | Estimator | Iterable[str | Estimator] | Mapping[str, str | Estimator]
Progress = Callable[[str, int, int], None]

# The chance that an unbiased estimator is called biased.
_LEVEL = 1e-4
# An error below this share of the gradient is rounding.
_ROUNDING = 1e-6
# Elements of a chunk's largest tensor, and of all chunks'.
_CHUNK, _WORK = 2**19, 2**27
_TIMED_BATCH = 1000
_WARM_UP_BATCH = 100


class Measurement(NamedTuple):
    """One estimator on one problem; the norms are Euclidean, over all parameters."""

    problem: str
    estimator: str
    reason: str = ""
    """Why the estimator was not measured, where it was not: the numbers are then NaN."""
    draws: int = 0
    """R, independent draws of the gradient."""
    evaluations: int = 0
    """Points at which one draw evaluates the cost."""
    with_gradient: int = 0
    """How many of them were differentiated with respect to z."""
    gradient_norm: float = float("nan")
    """||g||, of the exact gradient."""
    reference: str = ""
    """Where g is from: "closed form", "enumeration", or "long run", then with a standard error of its own."""
    bias: float = float("nan")
    """||mean - g||."""
    bias_error: float = float("nan")
    """The root mean square of `bias` if there were none: that of noise."""
    deviation: float = float("nan")
    """The largest |mean - g| of a coordinate, in its standard errors."""
    biased: bool | None = None
    """Whether `deviation` is larger than noise makes it, but for a chance of 1e-4. None where all draws are the same
    and wrong, as those of a rarely nonzero gradient may be."""
    variance: float = float("nan")
    """tr Cov of one draw."""
    variance_error: float = float("nan")
    """The standard error of `variance`."""
    signal_to_noise: float = float("nan")
    """||E g_r||^2 / tr Cov; infinite for a gradient that does not vary, NaN for one that is always 0."""
    milliseconds: float = float("nan")
    """Median time of a compiled call, for a batch of 1,000 replicas: informative only."""


class Sampler(NamedTuple):
    """An estimator made ready to draw gradients of a problem."""

    estimator: Estimator
    """A copy, built, and trained if it learns."""
    evaluations: int
    with_gradient: int
    elements: int
    """Of the largest tensor of one draw, at least."""


def compare(
    problem: str | Problem,
    estimators: Estimators = "all",
    *,
    num_draws: int = 20_000,
    warm_up: int = 200,
    learning_rate: float = 0.01,
    seed: int = 0,
    jit_compile: bool = False,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Measures estimators on a problem: bias, variance, signal-to-noise ratio, evaluations of the cost, time.

    Draws are independent replicas of the problem in one batch, in float64, compiled. The bias is against the problem's
    `expected_cost`, else enumeration of its codes if there are at most 4,096, else a run of ten times as many
    draws of the leave-one-out score-function estimator.

    Estimators that learn a control variate or keep running statistics first train at the fixed parameters. Those given
    as instances are copied from their configs, and stay as they are. A schedule has its first value.

    Example:

        scores = np.array([[0.0, 1.0, 3.0], [2.0, 0.0, 1.0]])
        mine = Problem(
            name="mine",
            parameters=np.zeros([2, 3]),
            distribution=ProductCategorical,
            cost=lambda z: tf.reduce_sum(z * scores, axis=[-2, -1]) ** 2,
        )
        rows = compare(mine, ["score_function", GumbelSoftmax(temperature=0.5)], num_draws=1000)
        [row.biased for row in rows]        # [False, True]

    Args:
        problem: a `Problem`, or the name of a built-in one, such as "vae_layer".
        estimators: names or instances; a dict of them, whose keys then name the rows; or "all" that are registered.
        num_draws: at least 2; fewer are drawn where one draw takes many evaluations of the cost, as `draws` says.
        warm_up: training steps of an estimator that has a state, on 100 replicas each.
        learning_rate: Adam's, in those steps.
        seed: a non-negative integer.
        jit_compile: whether to compile with XLA: each call is then faster and each compilation slower.
        progress: called with the estimator's name, how many are measured, and of how many.

    Returns:
        A `Measurement` for each estimator; one that the problem does not allow has the `reason` in it.

    Raises:
        InputError: for unknown names, or a problem whose exact gradient cannot be had.
    """
    problem = get_problem(problem)
    check_count("num_draws", num_draws, 2)
    check_count("warm_up", warm_up, 0)
    check_positive("learning_rate", learning_rate)
    check_seed(seed)
    chosen = named(estimators)
    _check_problem(problem)
    exact, exact_error, reference = exact_gradient(problem, num_draws=num_draws, seed=seed)
    rows = []
    for done, (name, estimator) in enumerate(chosen.items()):
        if progress is not None:
            progress(name, done, len(chosen))
        try:
            sampler = prepare(problem, estimator, warm_up=warm_up, learning_rate=learning_rate, seed=seed)
        except InputError as error:
            rows.append(Measurement(problem.name, name, reason=str(error)))
            continue
        moments = _draw(problem, sampler, num_draws, seed_of(seed, "compare"), jit_compile)
        rows.append(_measurement(problem.name, name, sampler, moments, exact, exact_error, reference))
    if progress is not None:
        progress("", len(chosen), len(chosen))
    return rows


def _check_problem(problem: Problem) -> None:
    """Raises `InputError` for a cost that no estimator can be measured with."""
    q = problem.distribution(replicate(problem, 2))
    if not (is_family(q) or isinstance(q, ProductMixed)):
        return
    try:
        check(q, problem.cost)
    except (InputError, tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
        raise InputError(
            f"the cost of problem {problem.name!r} must take z of shape [S, R, *event], of R replicas of the "
            f"parameters and in float64, as its constants must be. Received: {error}"
        ) from error


def named(estimators: Estimators) -> dict[str, Estimator]:
    """Estimators by the names of their rows: that of the registry, and the settings that are not the default."""
    # The registry lists the classes of this package's modules, of which this is one.
    from tfdiscrete.estimators import REGISTRY, get

    if isinstance(estimators, Mapping):
        return {name: get(estimator) for name, estimator in estimators.items()}
    if isinstance(estimators, str):
        estimators = sorted(REGISTRY) if estimators == "all" else [estimators]
    elif isinstance(estimators, Estimator):
        estimators = [estimators]
    made = [get(estimator) for estimator in estimators]
    names = [_name_of(estimator, REGISTRY) for estimator in made]
    if len(set(names)) < len(names):
        raise InputError(
            f"each estimator must be given once; name those of equal settings by a dict. Received: {names}."
        )
    return dict(zip(names, made, strict=True))


def _name_of(estimator: Estimator, registry) -> str:
    kind = next((name for name, cls in registry.items() if cls is type(estimator)), type(estimator).__name__)
    if kind not in registry:
        return kind
    default = registry[kind]().get_config()
    config = {key: value for key, value in estimator.get_config().items() if key != "name"}
    settings = [
        f"{key}={value['class_name'] if isinstance(value, dict) else value}"
        for key, value in config.items()
        if value != default.get(key)
    ]
    return f"{kind}({', '.join(settings)})" if settings else kind


def prepare(
    problem: Problem, estimator: Estimator, *, warm_up: int = 0, learning_rate: float = 0.01, seed: int = 0
) -> Sampler:
    """Copies an estimator, builds it on the problem, counts its evaluations of the cost, and trains it there.

    Raises:
        InputError: if the estimator does not take the problem's distribution, or needs what the problem has not.
    """
    estimator = type(estimator).from_config(estimator.get_config())
    cost = _CountedCost(problem.cost)
    gradients(problem._replace(cost=cost), estimator, replicate(problem, 2), seed_of(seed, "count"))
    if warm_up and len(estimator.variables) > 1:  # besides the step
        _train(problem, estimator, warm_up, learning_rate, seed_of(seed, "warm up"))
    return Sampler(estimator, cost.rows, cost.differentiated, cost.elements)


def replicate(problem: Problem, replicas: int):
    """The problem's parameters as a batch of equal ones, float64, `[R, ...]` each."""
    return tf.nest.map_structure(
        lambda p: tf.constant(np.broadcast_to(np.asarray(p, np.float64), (replicas, *np.shape(p)))), problem.parameters
    )


def gradients(problem: Problem, estimator: Estimator, parameters, seed):
    """One draw of the gradient for each replica of the parameters.

    Returns:
        The gradients, `[R, P]`, P the number of all parameters, and the `Estimate`.
    """
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        estimate = estimator.estimate(
            problem.distribution(parameters), problem.cost, seed=seed, context=_context(problem, parameters)
        )
        value = tf.reduce_sum(estimate.value)
    return flatten(tape.gradient(value, parameters, unconnected_gradients="zero")), estimate


def flatten(nest) -> tf.Tensor:
    """A nest of `[R, ...]` as one `[R, P]`."""
    return tf.concat([tf.reshape(part, [tf.shape(part)[0], -1]) for part in tf.nest.flatten(nest)], axis=-1)


def _context(problem: Problem, parameters) -> tf.Tensor:
    replicas = tf.shape(tf.nest.flatten(parameters)[0])[0]
    context = tf.constant(np.ones([1]) if problem.context is None else problem.context, tf.float64)
    return tf.broadcast_to(context, tf.concat([[replicas], context.shape], axis=0))


class _CountedCost:
    """A cost that counts, where it is run eagerly, the points of the first replica at which it is evaluated."""

    def __init__(self, cost):
        self._cost = cost
        self.rows = self.differentiated = self.elements = 0
        if hasattr(cost, "neighbours"):
            self.neighbours = self._neighbours
        if hasattr(cost, "shared"):
            self.shared = self._shared

    def __call__(self, z):
        return self._cost(self._counted(z))

    def _neighbours(self, z):
        costs = self._cost.neighbours(z)
        # The table has the costs of z itself, which was evaluated before, once for each variable.
        latents, categories = costs.shape[-2:]
        self.rows += z.shape[0] * latents * (categories - 1)
        return costs

    def _shared(self, z):
        return self._cost.shared(self._counted(z))

    def _counted(self, z):
        rows, counted = z.shape[0], False
        self.rows += rows
        self.elements += rows * int(np.prod(z.shape[2:]))

        def gradient(upstream):
            nonlocal counted
            self.differentiated += 0 if counted else rows
            counted = True
            return upstream

        return tf.custom_gradient(lambda z: (tf.identity(z), gradient))(z)


def _train(problem: Problem, estimator: Estimator, steps: int, learning_rate: float, seed) -> None:
    parameters = replicate(problem, _WARM_UP_BATCH)
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(estimator.trainable_variables)

    @tf.function
    def train(seed):
        for step in tf.range(steps):
            train_step(problem, estimator, optimizer, parameters, fold_in(seed, step))

    train(seed)


def train_step(problem: Problem, estimator: Estimator, optimizer, parameters, seed) -> tf.Tensor:
    """One draw at given parameters, from which the estimator learns what it owns; returns the gradients, `[R, P]`."""
    own = [variable.value for variable in estimator.trainable_variables]
    with tf.GradientTape() as tape:
        drawn, estimate = gradients(problem, estimator, parameters, seed)
    if own:
        theirs = tape.gradient(estimate.auxiliary, own, unconnected_gradients="zero")
        optimizer.apply_gradients(zip(theirs, estimator.trainable_variables, strict=True))
    estimator.update(estimate)
    return drawn


def exact_gradient(problem: Problem, *, num_draws: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, str]:
    """The gradient of the expected cost at the problem's parameters.

    Returns:
        The gradient, `[P]`; its standard errors, `[P]`, 0 unless it is the mean of a long run; and where it is from.

    Raises:
        InputError: if the problem has no `expected_cost`, and a distribution that has no codes.
    """
    try:
        gradient = exact_gradients(problem, replicate(problem, 1))[1][0].numpy()
        return gradient, np.zeros_like(gradient), "enumeration" if problem.expected_cost is None else "closed form"
    except InputError as error:
        reason = error
    try:
        sampler = prepare(problem, ScoreFunction(num_samples=8))
    except InputError:
        raise InputError(
            f"the exact gradient of problem {problem.name!r} cannot be had: give the problem an expected_cost. {reason}"
        ) from reason
    moments = _draw(problem, sampler, 10 * num_draws, seed_of(seed, "long run"), False)
    return moments.mean, np.sqrt(moments.variances / moments.draws), "long run"


def expectation(problem: Problem, parameters) -> tf.Tensor:
    """The expected cost at parameters `[R, ...]`: `[R]`, differentiable; in closed form, or by enumeration."""
    if problem.expected_cost is not None:
        return problem.expected_cost(parameters)
    return Enumeration().estimate(problem.distribution(parameters), problem.cost, seed=[0, 0]).value


def exact_gradients(problem: Problem, parameters) -> tuple[tf.Tensor, tf.Tensor]:
    """The expected cost at parameters `[R, ...]` and its gradients: `[R]` and `[R, P]`."""
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        value = expectation(problem, parameters)
        total = tf.reduce_sum(value)
    return value, flatten(tape.gradient(total, parameters, unconnected_gradients="zero"))


class _Moments(NamedTuple):
    draws: int
    mean: np.ndarray  # [P]
    variances: np.ndarray  # [P]
    distances: np.ndarray  # [R], squared, of each draw to about the mean
    milliseconds: float


def _draw(problem: Problem, sampler: Sampler, num_draws: int, seed, jit_compile: bool) -> _Moments:
    """Draws in chunks of bounded memory, and merges their moments (Chan, Golub, LeVeque 1979)."""
    num_draws = min(num_draws, max(_WORK // sampler.elements, 100))
    chunks = -(-num_draws // min(num_draws, max(_CHUNK // sampler.elements, 2)))
    replicas = -(-num_draws // chunks)
    parameters = replicate(problem, replicas)

    @tf.function(jit_compile=jit_compile)
    def draw(seed):
        return gradients(problem, sampler.estimator, parameters, seed)[0]

    count, times, distances = 0, [], []
    mean = scatter = centre = np.zeros([])
    draw(seed)  # traced, and not timed
    for chunk in range(chunks):
        start = tf.timestamp()
        part = draw(fold_in(seed, chunk)).numpy()
        times.append(float(tf.timestamp() - start))
        here = part.mean(axis=0)
        centre = here if chunk == 0 else centre
        distances.append(np.sum((part - centre) ** 2, axis=-1))
        shift = here - mean
        scatter = scatter + np.sum((part - here) ** 2, axis=0) + shift**2 * count * replicas / (count + replicas)
        mean = mean + shift * replicas / (count + replicas)
        count += replicas
    milliseconds = 1e3 * float(np.median(times)) * _TIMED_BATCH / replicas
    return _Moments(count, np.asarray(mean), np.asarray(scatter) / (count - 1), np.concatenate(distances), milliseconds)


def _signal_to_noise(signal: float, variance: float) -> float:
    if variance > 1e-24 * signal:  # below is rounding: that of 1e-12 of the gradient
        return signal / variance
    return float("inf") if signal else float("nan")


def _measurement(problem, name, sampler, moments: _Moments, exact, exact_error, reference) -> Measurement:
    variance = float(moments.variances.sum())
    errors = np.hypot(np.sqrt(moments.variances / moments.draws), exact_error)
    off = moments.mean - exact
    deviations = np.abs(off) / (errors + _ROUNDING * np.abs(exact).max() + np.finfo(float).tiny)
    # Of as many coordinates as differ, the largest.
    limit = scipy.stats.norm.isf(0.5 * _LEVEL / len(off))
    signal = max(float(np.sum(moments.mean**2)) - variance / moments.draws, 0.0)
    return Measurement(
        problem=problem,
        estimator=name,
        draws=moments.draws,
        evaluations=sampler.evaluations,
        with_gradient=sampler.with_gradient,
        gradient_norm=float(np.linalg.norm(exact)),
        reference=reference,
        bias=float(np.linalg.norm(off)),
        bias_error=float(np.linalg.norm(errors)),
        deviation=float(deviations.max()),
        biased=None if deviations.max() > limit and not variance else bool(deviations.max() > limit),
        variance=variance,
        variance_error=float(moments.distances.std(ddof=1) / np.sqrt(moments.draws)),
        signal_to_noise=_signal_to_noise(signal, variance),
        milliseconds=moments.milliseconds,
    )
