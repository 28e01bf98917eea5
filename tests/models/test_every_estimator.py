"""Every estimator that takes a categorical posterior, by name: in `fit`, in mixed precision, in a hand-written step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import estimators
from tfdiscrete.distributions import Family, ProductCategorical
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.ops import step_seed
from tfdiscrete.training import strategies

NAMES = sorted(name for name, cls in estimators.REGISTRY.items() if cls.takes is Family)
DATA = np.random.default_rng(0).integers(2, size=(60, 6)).astype("float32")


def networks():
    return make_networks("linear", data_shape=(6,), parameter_shape=(6,), num_latents=2, num_categories=3)


@pytest.fixture
def mixed_float16():
    yield from policy("mixed_float16")


@pytest.fixture(params=["float32", "mixed_float16"])
def any_policy(request):
    yield from policy(request.param)


def policy(name):
    keras.mixed_precision.set_global_policy(name)
    yield
    keras.mixed_precision.set_global_policy("float32")


def values(variables):
    return [np.array(variable) for variable in variables]


def assert_all_changed(before, variables):
    for old, variable in zip(before, variables, strict=True):
        new = np.array(variable)
        assert np.isfinite(new).all(), variable.path
        assert (new != old).any(), variable.path


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_fit_trains_every_weight_and_the_loaded_model_goes_on_alike(name, tmp_path):
    vae = DiscreteVAE(*networks(), estimator=name, seed=0)
    vae.compile(keras.optimizers.Adam(1e-2), steps_per_execution=1)
    before = values(vae.trainable_variables)
    vae.fit(DATA, epochs=1, batch_size=20, verbose=0)
    assert_all_changed(before, vae.trainable_variables)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    for model in (vae, loaded):
        model.fit(DATA, epochs=1, batch_size=20, shuffle=False, verbose=0)
    assert vae.estimator.step.numpy() == loaded.estimator.step.numpy() == 6
    for one, other in zip(vae.trainable_variables, loaded.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_trains_every_weight(name, mixed_float16):
    vae = DiscreteVAE(*networks(), estimator=name, seed=0)
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False, steps_per_execution=1)
    before = values(vae.trainable_variables)
    vae.fit(DATA, epochs=2, batch_size=20, verbose=0)
    assert_all_changed(before, vae.trainable_variables)


@pytest.mark.slow
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_two_replicas_train_every_weight_and_keep_it_equal(name, jit, any_policy):
    strategy = strategies.get("mirrored", replicas=2)
    with strategy.scope():
        vae = DiscreteVAE(*networks(), estimator=name, seed=0)
        vae.compile(keras.optimizers.Adam(1e-2), jit_compile=jit, steps_per_execution=2)
    before = values(vae.trainable_variables)
    # Three steps, in executions of two and one; of the last batch one replica has more than the other.
    vae.fit(DATA[:57], epochs=1, batch_size=20, verbose=0)
    assert_all_changed(before, vae.trainable_variables)
    for variable in vae.variables:
        first, second = strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(first, second, err_msg=variable.path)


@pytest.mark.parametrize("name", NAMES)
def test_a_hand_written_step_around_functional_networks(name):
    encoder, decoder = networks()
    estimator, optimizer = estimators.get(name), keras.optimizers.Adam(1e-2)
    estimator.build((None, 2, 3), (None, 6))
    shared = [*encoder.trainable_variables, *decoder.trainable_variables]
    own = estimator.trainable_variables
    optimizer.build([*shared, *own])

    @tf.function
    def train_step(x):
        def cost(z):
            logits = tf.reshape(decoder(tf.reshape(z, [-1, 2, 3])), [-1, tf.shape(x)[0], 6])
            return -tf.reduce_sum(x * logits - tf.math.softplus(logits), axis=-1)

        with tf.GradientTape(persistent=True) as tape:
            seed = step_seed(7, estimator.step.value)
            estimate = estimator.estimate(ProductCategorical(encoder(x)), cost, seed=seed, context=x)
            loss = tf.reduce_mean(estimate.value)
        gradients = [*tape.gradient(loss, shared), *(tape.gradient(estimate.auxiliary, own) if own else [])]
        optimizer.apply_gradients(zip(gradients, [*shared, *own], strict=True))
        estimator.update(estimate)
        return loss

    before = values([*shared, *own])
    losses = [float(train_step(DATA)) for _ in range(3)]
    assert np.isfinite(losses).all()
    assert_all_changed(before, [*shared, *own])
