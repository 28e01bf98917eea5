"""What a stranger's own networks, data and step counts may expect of `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.replicas import two_replicas
from tfdiscrete import priors
from tfdiscrete.errors import InputError
from tfdiscrete.models import DiscreteVAE
from tfdiscrete.objectives import Categorical

layers = keras.layers
X = (np.random.default_rng(0).random((64, 6)) < 0.4).astype("float32")


def make_vae(*encoder_layers, compiled=None, **options):
    encoder = keras.Sequential([keras.Input((6,)), *encoder_layers, layers.Dense(6), layers.Reshape((2, 3))])
    decoder = keras.Sequential([keras.Input((2, 3)), layers.Flatten(), layers.Dense(6)])
    vae = DiscreteVAE(encoder, decoder, seed=1, **options)
    vae.compile(keras.optimizers.Adam(0.01), **(compiled or {}))
    return vae


class Spy(layers.Layer):
    """Notes the modes in which it is called."""

    def __init__(self):
        super().__init__()
        self.modes = []

    def call(self, x, training=None):
        self.modes.append(training)
        return x


@pytest.mark.slow
def test_networks_run_in_training_mode_in_fit_alone():
    spy = Spy()
    vae = make_vae(spy)
    spy.modes.clear()
    vae.fit(X, verbose=0)
    assert set(spy.modes) == {True}
    spy.modes.clear()
    vae.evaluate(X, verbose=0)
    vae.predict(X, verbose=0)
    assert set(spy.modes) == {False}


@pytest.mark.slow
def test_batch_normalization_learns_its_statistics():
    vae = make_vae(layers.BatchNormalization(momentum=0.5))
    vae.fit(X, epochs=20, batch_size=64, verbose=0)
    np.testing.assert_allclose(vae.encoder.layers[0].moving_mean.numpy(), X.mean(0), atol=1e-4)


@pytest.mark.slow
def test_regularizers_act_on_the_weights_and_not_on_the_reported_bound():
    plain, regularized = (make_vae(layers.Dense(4, kernel_regularizer=r)) for r in (None, keras.regularizers.L2(100.0)))
    losses = [vae.fit(X, epochs=50, verbose=0).history["loss"][-1] for vae in (plain, regularized)]
    norms = [np.linalg.norm(vae.encoder.layers[0].kernel.numpy()) for vae in (plain, regularized)]
    assert norms[1] < 0.1 * norms[0]
    assert losses[1] < 6 * np.log(2) + 1


@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed, but will be ignored:UserWarning")
@pytest.mark.parametrize(("steps", "execution"), [(10, 10), (7, 7), (37, 1), (66, 22), (64, 32)])
def test_fit_makes_exactly_the_steps_that_are_asked_for(steps, execution):
    vae = make_vae()
    vae.fit(tf.data.Dataset.from_tensor_slices(X).repeat().batch(8), steps_per_epoch=steps, epochs=2, verbose=0)
    assert vae.optimizer.iterations.numpy() == 2 * steps
    assert vae.steps_per_execution == execution


def test_evaluate_takes_exactly_the_steps_that_are_asked_for():
    vae = make_vae()
    vae.evaluate(tf.data.Dataset.from_tensor_slices(X).repeat().batch(8), steps=3, verbose=0)
    assert vae.loss_tracker.count.numpy() == 3 * 8


@pytest.mark.slow
def test_fit_goes_on_after_steps_were_asked_for_and_validates():
    vae = make_vae()
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(8)
    vae.fit(dataset.repeat(), steps_per_epoch=5, shuffle=False, verbose=0)
    history = vae.fit(X, batch_size=8, epochs=2, validation_data=(X[:20],), verbose=0).history
    assert vae.optimizer.iterations.numpy() == 5 + 2 * 8
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X * 255, "zeros and ones. Received: data from 0 to 255"),
        ((X * 255).astype("uint8"), "zeros and ones. Received: data from 0 to 255"),
        (X * 0.5, "zeros and ones. Received: data from 0 to 0.5"),
        (np.where(np.arange(6) == 3, np.nan, X), r"must be finite. Received: nan at index \(0, 3\), 64 such"),
    ],
)
@pytest.mark.parametrize("verb", ["fit", "evaluate"])
def test_data_outside_of_the_likelihoods_domain_are_refused(verb, x, message):
    vae = make_vae()
    with pytest.raises(InputError, match=message):
        getattr(vae, verb)(x, verbose=0)


def test_validation_data_are_checked_too():
    with pytest.raises(InputError, match="data from 0 to 255"):
        make_vae().fit(X, validation_data=(X * 255,), verbose=0)


def test_bytes_are_no_levels_of_the_categorical_likelihood():
    with pytest.raises(InputError, match="divide 8-bit images by 255"):
        Categorical(256).check(np.arange(256, dtype=np.uint8))
    Categorical(256).check(np.arange(256) / 255)


@pytest.mark.parametrize("name", ["loss", "metrics", "weighted_metrics"])
def test_losses_and_metrics_of_others_are_refused(name):
    with pytest.raises(InputError, match=f"compile it without `{name}`"):
        make_vae(compiled={name: ["mse"]})


def test_the_metrics_of_an_uneven_last_batch_weigh_every_example_alike():
    vae = make_vae(estimator="enumeration")
    whole, uneven = (vae.evaluate(X, batch_size=size, verbose=0) for size in (64, 60))
    np.testing.assert_allclose(uneven, whole, rtol=1e-5)


def test_an_empty_share_of_a_batch_leaves_the_figures_finite():
    with two_replicas().scope():
        vae = make_vae()
    history = vae.fit(np.concatenate([X, X[:1]]), batch_size=16, epochs=2, verbose=0).history
    assert np.isfinite([*history.values()]).all()


class Unclosed(priors.Prior):
    """A prior without a closed-form KL."""

    def log_prob(self, z):
        return -tf.math.log(9.0) * tf.ones(tf.shape(z)[:-2])

    def sample(self, num_samples, seed):
        return tf.one_hot(tf.zeros([num_samples, 2], tf.int32), 3)


def test_the_kl_is_sampled_where_there_is_no_closed_form():
    models = make_vae(), make_vae(prior=Unclosed())
    chosen = [vae.objective.choose_kl(vae.kl, vae.prior, vae.estimator) for vae in models]
    assert chosen == ["analytic", "sampled"]
    with pytest.raises(InputError, match="Unclosed has no closed-form KL"):
        make_vae(prior=Unclosed(), kl="analytic")


@pytest.mark.parametrize("seed", [-1, 1.5, "a", 2**62, True])
def test_a_seed_out_of_range_is_refused(seed):
    vae = make_vae()
    with pytest.raises(InputError, match="seed must be an integer of at least 0"):
        DiscreteVAE(vae.encoder, vae.decoder, seed=seed)
