"""A variational autoencoder whose latent variables are a label, known for some examples, and a continuous style.

    p(x, y, s) = p(y) N(s; 0, I) p(x|y, s),    q(y, s|x) = q(y|x) N(s; mu(x, y), sigma(x, y)^2)

    L(x, y) = -E_{q(s|x,y)}[log p(x|y, s)] + KL(q(s|x,y) || p(s))
    known      L(x, y) - log p(y) - weight log q(y|x)
    unknown    E_{q(y|x)}[L(x, y)] + KL(q(y|x) || p(y))

Diederik P. Kingma, Danilo J. Rezende, Shakir Mohamed, Max Welling (2014), "Semi-supervised Learning with Deep
Generative Models", arXiv 1406.5298 (the model M2).
Guy Lorberbom, Andreea Gane, Tommi Jaakkola, Tamir Hazan (2019), "Direct Optimization through arg max for Discrete
Variational Auto-Encoder", arXiv 1806.02867.
"""

import itertools

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete import estimators, priors
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.errors import InputError, check_count
from tfdiscrete.estimators import Estimate, Pathwise
from tfdiscrete.models.base import Endpoint, LatentVariableModel, Terms
from tfdiscrete.models.labels import check_labels, check_learnable, check_tensor
from tfdiscrete.objectives import likelihoods, supervision
from tfdiscrete.objectives.semi_supervised import semi_supervised_loss
from tfdiscrete.objectives.supervision import Labels, Supervision, cross_entropy
from tfdiscrete.ops import normal, split_seed
from tfdiscrete.ops.precision import widen

tfd = tfp.distributions

_MIN_SCALE = 1e-4
_MAX_ROWS = 4096


@keras.saving.register_keras_serializable(package="tfdiscrete.models")
class SemiSupervisedVAE(LatentVariableModel):
    """A classifier and a generative model in one, trained on labelled and unlabelled examples together.

    The label is one variable of `C` classes, or `A` attributes of `K` classes each: `K = 2` for binary ones. In `y`
    each is an integer, and -1 where it is missing.

    `fit(x, y)` reports `loss`, and of the known labels `cross_entropy` and `accuracy` (NaN where there are none).
    `evaluate(x, y)` reports the same, of which `loss` is an upper bound on -log p(x), in nats, whatever labels are
    known. `predict`, and a call, give the probabilities of the classes, `[B, C]` or `[B, A, K]`.

    The estimator sees one cost of the label, in which the style is integrated out by one pathwise sample; all labels of
    an example share its noise. "enumeration" sums over all labels, `K^A` of attributes. Known labels are put in their
    places, so that no estimator has to do with them; but under `TaskLoss` they are sampled like the others, and the
    estimator differentiates the task's loss.

    Example:

        networks = make_label_networks("dense", data_shape=(28, 28), parameter_shape=(28, 28), num_classes=10)
        vae = SemiSupervisedVAE(*networks, estimator="enumeration", supervision=CrossEntropy(weight=50.0))
        vae.compile("adam")
        vae.fit(images, hide_labels(classes, 100, seed=0), epochs=10, batch_size=100)
        vae.predict(images).argmax(-1)

    Args:
        encoder: a Keras model of two outputs, data `[B, *data]` to the logits of q(y|x), `[B, C]` or `[B, A, K]`, and
            features `[B, ...]`, what the style encoder reads of x.
        style_encoder: a Keras model of two inputs, features `[B, ...]` and one-hot labels of the logits' shape, to
            `[B, 2 D]`: the mean of the style and its scale before the softplus.
        decoder: a Keras model of two inputs, one-hot labels and styles `[B, D]`, to the likelihood's parameters.
        estimator: an `Estimator`, or its name with default settings.
        prior: p(y), a `Prior`, or its name.
        likelihood: a `Likelihood`, or "bernoulli", "gaussian" or "categorical".
        supervision: a `Supervision`, or "cross_entropy" or "task_loss".
        seed: of all noise; a non-negative integer, by default drawn from the system and kept in the config.

    Raises:
        InputError: for unknown names, networks of other shapes, labels out of range, of another shape or not integers,
            and from `fit`, where no label is known or all known ones are alike; the last two of arrays alone, as no
            batch of a data set can tell.
    """

    reported = ("cross_entropy", "accuracy")
    parts = ("encoder", "style_encoder", "decoder", "estimator", "prior", "likelihood", "supervision")

    def __init__(
        self,
        encoder: keras.Model,
        style_encoder: keras.Model,
        decoder: keras.Model,
        *,
        estimator: str | estimators.Estimator = "enumeration",
        prior: str | priors.Prior = "fixed",
        likelihood: str | likelihoods.Likelihood = "bernoulli",
        supervision: str | Supervision = "cross_entropy",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.trackers = {name: MeanOfSome(name=name) for name in self.reported}
        self.encoder = encoder
        self.style_encoder = style_encoder
        self.decoder = decoder
        self.estimator = estimators.get(estimator)
        self.prior = priors.get(prior)
        if self.prior.takes_condition or isinstance(self.prior, priors.VampPrior):
            raise InputError(
                "p(y) is a law of the label alone, such as 'fixed' or 'learned'. "
                f"Received: {type(self.prior).__name__}, which depends on a class or on data."
            )
        self.likelihood = likelihoods.get(likelihood)
        self.supervision = _get_supervision(supervision)
        self.style = Pathwise(shared_axes=1, name="style")
        if getattr(encoder, "inputs", None):
            self.build(encoder.input_shape)

    def build(self, input_shape) -> None:
        if self.built:  # type: ignore[has-type]
            return
        logits, features = self._build_encoder(input_shape)
        self.label_shape = tuple(logits.shape[1:])
        labels = keras.KerasTensor((None, *self.label_shape))
        style = tuple(_symbolic(self.style_encoder, [features, labels]).shape)
        if len(style) != 2 or not style[1] or style[1] % 2:
            raise InputError(
                "the style encoder must output [B, 2 D], means and raw scales of D dimensions. Received: an output of "
                f"shape {style}."
            )
        self.style_size = style[1] // 2
        parameters = _symbolic(self.decoder, [labels, keras.KerasTensor((None, self.style_size))])
        expected = self.likelihood.parameter_shape(tuple(input_shape[1:]))
        if tuple(parameters.shape[1:]) != expected:
            raise InputError(
                f"with data of shape {tuple(input_shape[1:])} the {type(self.likelihood).__name__} likelihood needs a "
                f"decoder that outputs {expected}. Received: {tuple(parameters.shape[1:])}."
            )
        self.estimator.check_distribution(ProductCategorical(tf.zeros([1, self.num_labels, self.num_classes])))
        # Those of a loaded model were built with their configs.
        if not self.estimator.built:
            self.estimator.build((None, self.num_labels, self.num_classes), tuple(input_shape))
        self.prior.build_for((self.num_labels, self.num_classes))
        if not self.style.built:
            self.style.build()
        self.data_shape = tuple(input_shape[1:])
        self.built = True

    def _build_encoder(self, input_shape):
        outputs = _symbolic(self.encoder, keras.KerasTensor((None, *input_shape[1:])))
        if not isinstance(outputs, tuple | list) or len(outputs) != 2:
            raise InputError(
                "the encoder must have two outputs, the label's logits and the style encoder's features; where these "
                f"are the data: keras.Model(x, [logits, x]). Received: {outputs!r}."
            )
        shape = tuple(outputs[0].shape)
        if len(shape) not in (2, 3) or None in shape[1:] or shape[-1] < 2:
            raise InputError(
                "the encoder's logits must have shape [B, C], of one label of C >= 2 classes, or [B, A, K], of A "
                f"attributes of K >= 2 classes (K = 2 for binary ones). Received: {shape}."
            )
        return outputs

    @property
    def num_labels(self) -> int:
        """`A`, the attributes; 1 for one label."""
        return 1 if len(self.label_shape) == 1 else self.label_shape[0]

    @property
    def num_classes(self) -> int:
        """`C`, or `K` of attributes."""
        return self.label_shape[-1]

    # Inference.

    def _posterior(self, x, training) -> tuple[ProductCategorical, tf.Tensor]:
        """q(y|x), with event `[A, K]`, in float32 at least, and the features."""
        self._build_for(x)
        logits, features = self.encoder(x, training=training)
        logits = tf.reshape(widen(logits), [-1, self.num_labels, self.num_classes])
        return ProductCategorical(logits), features

    def _label_cost(self, x, features, seed, training):
        """L(x, y) as a function of codes `[S, B, A, K]`, an `Estimate` of `[S, B]`."""

        def cost(y):
            shape = tf.shape(y)[:2]
            labels = tf.reshape(y, [-1, *self.label_shape])
            tiled = tf.broadcast_to(features, tf.concat([shape[:1], tf.shape(features)], axis=0))
            tiled = tf.reshape(tiled, tf.concat([[-1], tf.shape(features)[1:]], axis=0))
            tiled = tf.ensure_shape(tiled, [None, *features.shape[1:]])
            parameters = widen(self.style_encoder([tiled, labels], training=training))
            parameters = tf.reshape(parameters, tf.concat([shape, [2 * self.style_size]], axis=0))
            parameters = tf.ensure_shape(parameters, [*y.shape[:2], 2 * self.style_size])
            q = _gaussian(parameters)

            def distortion(style):  # [1, S, B, D], of one sample
                logits = self.decoder([labels, tf.reshape(style, [-1, self.style_size])], training=training)
                logits = tf.reshape(logits, tf.concat([shape, tf.shape(logits)[1:]], axis=0))
                log_prob = self.likelihood.log_prob(tf.cast(x, logits.dtype), logits)
                total = tf.reduce_sum(widen(log_prob), axis=list(range(2, log_prob.shape.rank)))
                return -tf.ensure_shape(total, y.shape[:2])[tf.newaxis]

            estimate: Estimate = self.style.estimate(q, distortion, seed=seed, training=training)
            rate = tf.reduce_sum(tfd.kl_divergence(q.distribution, _standard(q)), axis=-1)
            return estimate._replace(value=estimate.value + tf.cast(rate, estimate.value.dtype))

        return cost

    def call(self, inputs, training=False):
        q, _ = self._posterior(inputs, training)
        probabilities = tf.nn.softmax(q.logits, axis=-1)
        return tf.reshape(probabilities, [-1, *self.label_shape])

    def decode(self, label, style) -> tf.Tensor:
        """E[x|y, s], integer labels `[B]` or `[B, A]` and styles `[B, D]` to data `[B, *data]`."""
        return self.likelihood.mean(self.decoder([self._one_hot(label), tf.convert_to_tensor(style)], training=False))

    def encode_style(self, x, label) -> tf.Tensor:
        """The mean of q(s|x, y), data `[B, *data]` and integer labels `[B]` or `[B, A]` to `[B, D]`."""
        self._build_for(x)
        features = self.encoder(x, training=False)[1]
        return widen(self.style_encoder([features, self._one_hot(label)], training=False))[:, : self.style_size]

    def _one_hot(self, label) -> tf.Tensor:
        if not tf.is_tensor(label):
            label = check_labels(label, self.label_shape, missing=False)
        return tf.one_hot(tf.cast(label, tf.int32), self.num_classes)

    def sample(self, num_samples, seed) -> tf.Tensor:
        """E[x|y, s] at `num_samples` draws of the prior, `[num_samples, *data]`; `seed` is int32 `[2]`."""
        label_seed, style_seed = split_seed(seed, 2)
        labels = tf.reshape(self.prior.sample(num_samples, label_seed), [-1, *self.label_shape])
        style = normal(tf.stack([num_samples, self.style_size]), style_seed)
        return self.likelihood.mean(self.decoder([labels, style], training=False))

    def rows(self, num_styles: int, seed, labels=None) -> np.ndarray:
        """Every label in the same styles, drawn from the prior.

        Args:
            num_styles: `M`.
            seed: int32 `[2]`.
            labels: integers `[R]` or `[R, A]`; by default all.

        Returns:
            E[x|y, s], `[R, M, *data]`: a row for each label, a column for each style.

        Raises:
            InputError: for more than 4,096 labels by default.
        """
        labels = self._all_labels() if labels is None else check_labels(labels, self.label_shape, missing=False)
        style = normal([check_count("num_styles", num_styles), self.style_size], seed)
        return np.stack([self.decode(np.repeat(label[None], num_styles, axis=0), style) for label in labels])

    def _all_labels(self) -> np.ndarray:
        count = self.num_classes**self.num_labels
        if count > _MAX_ROWS:
            raise InputError(
                f"{self.num_labels} attributes of {self.num_classes} classes have {count} labels: say which in "
                "`labels`, integers [R, A]."
            )
        labels = np.array(list(itertools.product(range(self.num_classes), repeat=self.num_labels)))
        return labels.reshape(-1, *self.label_shape[:-1])

    # Training.

    def terms(self, data, *, seed, training):
        x, y = data
        if y is None:
            if training:
                raise InputError(
                    "SemiSupervisedVAE learns from (x, y), integers y that are -1 where a label is missing. Received: "
                    "x alone; where no label is known, use DiscreteVAE."
                )
            y = tf.fill([tf.shape(x)[0], self.num_labels], -1)
        q, features = self._posterior(x, training)
        labels = Labels.from_integers(y, self.num_classes, q.dtype)
        label_seed, style_seed = split_seed(seed, 2)
        loss, estimate = semi_supervised_loss(
            q,
            self.prior,
            self._label_cost(x, features, style_seed, training),
            self.estimator,
            labels if training else labels.without(),
            self.supervision,
            seed=label_seed,
            context=x,
            training=training,
        )
        known = tf.cast(labels.known, q.dtype)
        hits = tf.cast(tf.argmax(q.logits, axis=-1, output_type=y.dtype) == y, q.dtype)
        reports = {"cross_entropy": (cross_entropy(q.log_probabilities, labels), known), "accuracy": (hits, known)}
        return Terms(loss, reports, [(self.estimator, estimate)])

    def _unpack(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if weight is not None:
            raise InputError("SemiSupervisedVAE takes no sample weights. Received: some; leave them out.")
        self._build_for(x)
        if y is None:
            return x, None
        check_tensor(y, self.label_shape)
        return x, tf.reshape(tf.cast(y, tf.int32), [-1, self.num_labels])

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """As `keras.Model.fit`, with labels `y`. Data are checked as by all models."""
        if isinstance(x, np.ndarray | tf.Tensor):
            self._build_for(x)
            y = check_labels(y, self.label_shape)
            check_learnable(y)
        if isinstance(validation_data, tuple | list) and len(validation_data) == 2:
            self._build_for(validation_data[0])
            validation_data = (validation_data[0], check_labels(validation_data[1], self.label_shape))
        return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.evaluate`, with labels `y` or without. Data are checked as by `fit`."""
        if y is not None:
            self._build_for(x)
            y = check_labels(y, self.label_shape)
        return super().evaluate(x, y, *args, **kwargs)

    def _check_arrays(self, x, y=None):
        self.likelihood.check(x)
        # Networks without static input shapes are built by the first batch, which may be read before.
        if y is not None and self.built:
            check_labels(y, self.label_shape)

    # Saving.

    def endpoints(self):
        def classify(x):
            probabilities = self(x, training=False)
            return {"probabilities": probabilities, "index": tf.argmax(probabilities, axis=-1, output_type=tf.int32)}

        def decode(label, style):
            return {"reconstruction": self.decode(label, style)}

        def sample(seed, n):
            return {"samples": self.sample(n, seed)}

        label = tf.TensorSpec([None, *self.label_shape[:-1]], tf.int32, "label")
        style = tf.TensorSpec([None, self.style_size], tf.float32, "style")
        return {
            "classify": Endpoint(classify, [tf.TensorSpec([None, *self.data_shape], tf.float32, "x")]),
            "decode": Endpoint(decode, [label, style]),
            "sample": Endpoint(sample, [tf.TensorSpec([2], tf.int32, "seed"), tf.TensorSpec([], tf.int32, "n")]),
        }


class MeanOfSome(keras.metrics.Mean):
    """A weighted mean; NaN of nothing, where Keras says 0."""

    def result(self):
        return self.total / self.count


def _get_supervision(identifier) -> Supervision:
    # The argument of the same name hides the module.
    return supervision.get(identifier)


def _symbolic(network: keras.Model, inputs):
    """The symbolic outputs of a network; the call builds a subclassed one."""
    if getattr(network, "inputs", None):
        return network.compute_output_spec(inputs)
    return network(inputs)


def _gaussian(parameters: tf.Tensor):
    """`[..., 2 D]` to a Gaussian with event `[D]`."""
    mean, raw_scale = tf.split(parameters, 2, axis=-1)
    return tfd.Independent(tfd.Normal(mean, tf.math.softplus(raw_scale) + _MIN_SCALE), 1)


def _standard(q):
    """The prior of the style, in q's dtype."""
    return tfd.Normal(tf.zeros([], q.dtype), tf.ones([], q.dtype))
