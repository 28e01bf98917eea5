"""What all models share: how they are compiled, fitted, evaluated, saved and exported.

A subclass says what a batch of data is, and what a step minimises, as `Terms`; the base differentiates them, keeps the
noise's counter, the estimators' statistics and the means that `fit` reports.
"""

import abc
import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete import estimators
from tfdiscrete.errors import InputError, check_seed
from tfdiscrete.families import Latents
from tfdiscrete.models.checked_data import checking
from tfdiscrete.models.step_loop import StepLoop
from tfdiscrete.ops import fold_in, step_seed
from tfdiscrete.ops.counter import add_counter
from tfdiscrete.ops.global_batch import sum_over_replicas
from tfdiscrete.ops.random import random_base

_LONGEST_EXECUTION = 32


class Terms(NamedTuple):
    """What a step minimises and reports."""

    loss: tf.Tensor
    """`[B]`, in nats: its gradient serves all weights but the estimators' own."""
    reports: Mapping[str, tf.Tensor | tuple[tf.Tensor, tf.Tensor]]
    """`[R]` each, of any R, or with weights of the same shape: their mean over the epoch is reported; the names are
    those of `reported`."""
    estimates: Sequence[tuple[estimators.Estimator, estimators.Estimate]] = ()
    """Each estimator that was used, with what it returned."""


class Endpoint(NamedTuple):
    """A signature of the exported model."""

    function: Callable[..., dict[str, tf.Tensor]]
    """Deterministic; takes the tensors of `inputs` by position."""
    inputs: list[tf.TensorSpec]
    """Named; the batch is None."""


class LatentVariableModel(StepLoop, abc.ABC):
    """Base of the models: a subclass states `reported` and `parts`, and writes `terms`, `_unpack` and `endpoints`.

    Args:
        seed: of all noise; a non-negative integer, by default drawn from the system and kept in the config.
    """

    reported: ClassVar[tuple[str, ...]] = ()
    """What `fit` and `evaluate` report besides `loss`."""
    parts: ClassVar[tuple[str, ...]] = ()
    """The constructor arguments that are objects of Keras or this package."""

    def __init__(self, *, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.seed = random_base() if seed is None else check_seed(seed)
        self.counter = add_counter(self, "counter")
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in self.reported}

    # What a subclass writes.

    @abc.abstractmethod
    def terms(self, data, *, seed: tf.Tensor, training: bool) -> Terms:
        """What is minimised on a batch, as `_unpack` gives it; with `training=False` what `evaluate` reports."""

    @abc.abstractmethod
    def _unpack(self, data):
        """What `terms` reads of a batch of `fit`; raises `InputError` for what the model cannot learn from."""

    @abc.abstractmethod
    def endpoints(self) -> dict[str, Endpoint]:
        """The signatures of the exported model; the first is the default one."""

    def _check_arrays(self, x: np.ndarray, y=None) -> None:
        """Raises `InputError` for data, and labels if there are some, that the model cannot learn from."""

    def _estimators(self) -> list[estimators.Estimator]:
        """Those whose variables have gradients of their own."""
        return [part for part in (getattr(self, name) for name in self.parts) if isinstance(part, estimators.Estimator)]

    # Keras.

    def compile(self, optimizer="adam", *, jit_compile="auto", steps_per_execution="auto", **kwargs):
        """As `keras.Model.compile`, without `loss`.

        Args:
            optimizer: as in Keras; it trains the estimator's own variables too.
            jit_compile: "auto" is XLA, and off under a `tf.distribute` strategy or `run_eagerly`. With True under a
                strategy XLA compiles what each replica computes by itself, the loss and its gradients.
            steps_per_execution: "auto" is 32, which halves the time that `fit` spends between steps (callbacks hear of
                every 32nd batch); a divisor of `steps_per_epoch` where that is given; and 1 under `run_eagerly`.
            **kwargs: passed on.
        """
        for name in ("loss", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise InputError(f"{type(self).__name__} brings its own loss and metrics: compile it without `{name}`.")
        self._compile_choices = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
        plain = kwargs.get("run_eagerly", False)
        compiles = not (plain or tf.distribute.has_strategy()) if jit_compile == "auto" else jit_compile
        self._suits_steps = steps_per_execution == "auto" and not plain
        super().compile(
            optimizer=optimizer,
            jit_compile=compiles,
            steps_per_execution=(1 if plain else _LONGEST_EXECUTION)
            if steps_per_execution == "auto"
            else steps_per_execution,
            **kwargs,
        )
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        """Refuses what Keras applies to each replica's part of a gradient, before the parts are added up."""
        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            return
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        for name in ("clipnorm", "global_clipnorm", "clipvalue", "gradient_accumulation_steps"):
            if getattr(inner, name, None) is not None:
                raise InputError(
                    f"with several replicas the optimizer must not clip or accumulate gradients. Received: {name}="
                    f"{getattr(inner, name)}; leave it out."
                )

    def get_compile_config(self):
        if not self.compiled:
            return None
        # As they were given: what "auto" stands for depends on where the model is loaded.
        return {"optimizer": keras.saving.serialize_keras_object(self.optimizer), **self._compile_choices}

    def compile_from_config(self, config):
        self.compile(**{**config, "optimizer": keras.saving.deserialize_keras_object(config["optimizer"])})
        self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, y=None, *args, steps_per_epoch=None, validation_data=None, validation_steps=None, **kwargs):
        """As `keras.Model.fit`. Arrays are checked first, a data set or a generator in batches 1, 2, 4, 8, ... of each
        pass, as `models.checked_data` says.
        """
        of_validation = validation_data[2:] if isinstance(validation_data, tuple | list) else ()
        self._refuse_weights({**kwargs, "sample_weight of validation_data": next(iter(of_validation), None)})
        with checking(self._check_arrays) as checked:
            x, validation_data = checked(x, y), checked.validation(validation_data)
            self._suit_steps(steps_per_epoch, validation_steps)
            return super().fit(  # type: ignore[misc]
                x,
                y,
                *args,
                steps_per_epoch=steps_per_epoch,
                validation_data=validation_data,
                validation_steps=validation_steps,
                **kwargs,
            )

    def evaluate(self, x=None, y=None, *args, steps=None, **kwargs):
        """As `keras.Model.evaluate`. Data are checked as by `fit`."""
        if "_use_cached_eval_dataset" in kwargs:  # that is `fit`, which has checked and suited them
            return super().evaluate(x, y, *args, steps=steps, **kwargs)
        self._refuse_weights(kwargs)
        with checking(self._check_arrays) as checked:
            x = checked(x, y)
            self._suit_steps(steps)
            return super().evaluate(x, y, *args, steps=steps, **kwargs)

    def _refuse_weights(self, given: Mapping) -> None:
        """Keras leaves weights out where there are no targets, and says nothing."""
        for name, value in given.items():
            if "_weight" in name and value is not None:
                raise InputError(f"{type(self).__name__} counts every example once. Received: {name}; leave it out.")

    def _suit_steps(self, *counts: int | None):
        """Keras runs whole executions: their length must divide the steps that are asked for."""
        if not self._suits_steps:
            return
        common = math.gcd(*(count or 0 for count in counts))
        length = max(n for n in range(1, _LONGEST_EXECUTION + 1) if common % n == 0)
        if length != self.steps_per_execution:  # type: ignore[has-type]
            self.steps_per_execution = length
            self.train_function = self.test_function = self.predict_function = None

    @property
    def metrics(self):
        return [self.loss_tracker, *self.trackers.values()]

    def train_step(self, data, size=None):
        """One step on this replica's share of a batch.

        Args:
            data: the share, as `fit` is given it.
            size: int64 `[]`, the examples of the whole batch; None where there are no other shares.
        """
        batch = self._unpack(data)
        seed = step_seed(self.seed, self.counter.value)
        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            size = None
        gradients, terms = self._differentiate(batch, seed, size)
        if size is not None and isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = finite_together(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.counter.assign_add(1)
        for estimator, estimate in terms.estimates:
            estimator.update(estimate)
        return self._report(terms)

    def _differentiate(self, batch, seed, size) -> tuple[list, Terms]:
        """The gradient of each trainable variable, summed over the replicas that of the whole batch, and the terms."""
        if self._distribute_strategy is None or not self.jit_compile or self.run_eagerly:
            return self._gradients(batch, seed, size)
        used: list[estimators.Estimator] = []

        def compiled(batch, seed, size):
            gradients, terms = self._gradients(batch, seed, size)
            used[:] = [estimator for estimator, _ in terms.estimates]
            return gradients, terms.loss, terms.reports, [estimate for _, estimate in terms.estimates]

        # A function of this replica alone: one for all would read the variables of whichever was traced first.
        try:
            run = tf.function(compiled, jit_compile=True, autograph=False)
            gradients, loss, reports, estimates = run(batch, seed, size)
        except RuntimeError as error:
            if "merge_call" not in str(error):
                raise
            raise InputError(
                f"the replicas of this {type(self).__name__} exchange values before its gradients are known, as for a "
                "codebook that learns or batch normalization, which XLA cannot compile. Received: jit_compile=True; "
                "compile it with jit_compile='auto'."
            ) from error
        return gradients, Terms(loss, reports, list(zip(used, estimates, strict=True)))

    def _gradients(self, batch, seed, size) -> tuple[list, Terms]:
        theirs = [variable for estimator in self._estimators() for variable in estimator.trainable_variables]
        own = {id(variable) for variable in theirs}
        with tf.GradientTape(persistent=bool(own)) as tape:
            terms = self.terms(batch, seed=seed, training=True)
            scaled = self.optimizer.scale_loss(self._total(terms, size))
            auxiliary = sum(estimate.auxiliary for _, estimate in terms.estimates)
            if size is not None:
                auxiliary *= _fraction(terms.loss, size)
            auxiliary = self.optimizer.scale_loss(auxiliary)
        variables = self.trainable_variables
        shared = [variable for variable in variables if id(variable) not in own]
        gradients = dict(zip(map(id, shared), tape.gradient(scaled, shared), strict=True))
        if own:
            gradients.update(zip(map(id, theirs), tape.gradient(auxiliary, theirs), strict=True))
        return [gradients[id(variable)] for variable in variables], terms

    def _total(self, terms: Terms, size) -> tf.Tensor:
        """What this replica adds to the loss of the whole batch, `[]`."""
        if size is None:
            return sum([tf.reduce_mean(terms.loss), *self.losses])
        # Those of the weights come last; the others are means over this replica's examples.
        losses = list(self.losses)
        added = len(losses) - sum(variable.regularizer is not None for variable in self.trainable_weights)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        mean = tf.reduce_sum(terms.loss) / tf.cast(size, terms.loss.dtype)
        return mean + sum(losses[:added]) * _fraction(terms.loss, size) + sum(losses[added:]) / replicas

    def test_step(self, data):
        batch = self._unpack(data)
        # Evaluation has its own stream of noise, and leaves the training's where it is. The examples counted so far,
        # which Keras sets back before each evaluation, tell the batches apart.
        seed = fold_in(step_seed(self.seed, self.counter.value, "evaluate"), self.loss_tracker.count.value)
        return self._report(self.terms(batch, seed=seed, training=False))

    def _report(self, terms: Terms):
        # A value for each example: a replica's share of the last batch may be empty.
        self.loss_tracker.update_state(terms.loss)
        for name, values in terms.reports.items():
            self.trackers[name].update_state(*(values if isinstance(values, tuple) else (values,)))
        return {metric.name: metric.result() for metric in self.metrics}

    def _x_alone(self, data):
        """The x of a batch, for models that learn from nothing else."""
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if y is not None or weight is not None:
            raise InputError(
                f"{type(self).__name__} learns from x alone. Received: labels or sample weights; call fit(x), or map "
                "the data set to its images."
            )
        return x

    def _build_for_batch(self, data):
        self._unpack(data)
        if self.compiled and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def _build_for(self, x):
        # Networks without static input shapes are built by the first data, which Keras leaves to the traced step.
        if not self.built:
            self.build((None, *x.shape[1:]))

    # Saving.

    def get_config(self):
        serialized = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in self.parts}
        return {**super().get_config(), **serialized, "seed": self.seed}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for part in config.keys() & set(cls.parts):  # a part that a later version has is the default one
            config[part] = keras.saving.deserialize_keras_object(config[part], custom_objects=custom_objects)
        return cls(**config)


def finite_together(gradients: Sequence) -> list:
    """This replica's gradients, or NaN where some replica's are not finite.

    A loss scale skips such a step, and looks at the replicas of its own worker alone: all workers must skip it.
    """
    tensors = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
    finite = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors if tensor is not None]
    unsound = sum_over_replicas(tf.where(tf.reduce_all(finite), 0.0, 1.0))
    added = tf.where(unsound > 0.0, float("nan"), 0.0)
    return [None if tensor is None else tensor + tf.cast(added, tensor.dtype) for tensor in tensors]


def _fraction(loss: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """The examples of this replica, those of a loss `[B]`, as a fraction of all."""
    return tf.cast(tf.shape(loss)[0], loss.dtype) / tf.cast(size, loss.dtype)


def check_parameters_shape(family: Latents, parameters_shape: Sequence[int | None]) -> None:
    """Raises `InputError` for a family that was built for parameters of another shape than `[B, *parameters]`."""
    expected = family.parameters_shape(family.num_latents)
    if tuple(parameters_shape[1:]) != tuple(expected):
        raise InputError(
            f"this {type(family).__name__} was built for {family.num_latents} variables, of an encoder that outputs "
            f"{expected}: make another one for another model. Received: an encoder that outputs "
            f"{tuple(parameters_shape[1:])}."
        )


def output_shape(network: keras.Model, input_shape) -> tuple[int | None, ...]:
    """The shape of the network's output; a symbolic call finds that of a subclassed network, and builds it."""
    if getattr(network, "inputs", None):
        return tuple(network.compute_output_shape(input_shape))
    return tuple(network(keras.KerasTensor((None, *input_shape[1:]))).shape)
