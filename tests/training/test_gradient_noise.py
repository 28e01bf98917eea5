import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.ops import fold_in, seed_of
from tfdiscrete.training import GradientNoise
from tfdiscrete.training.gradient_noise import GradientNoiseRecord

X = (np.random.default_rng(0).random((40, 8, 8)) < 0.3).astype("float32")


def model(estimator="score_function", jit_compile=False, **options):
    keras.utils.set_random_seed(3)
    encoder, decoder = make_networks("mlp", data_shape=(8, 8), parameter_shape=(8, 8), num_latents=3, num_categories=4)
    vae = DiscreteVAE(encoder, decoder, estimator=estimator, seed=5)
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=jit_compile, **options)
    return vae


def stateful_model(jit_compile):
    """Batch normalization, dropout and an activity's loss in both networks: all that a call may change."""
    keras.utils.set_random_seed(3)
    layers = keras.layers

    def noisy(units):
        return [
            layers.Dense(units, activation="relu", activity_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.2, seed=1),
        ]

    encoder = keras.Sequential(
        [keras.Input((8, 8)), layers.Flatten(), *noisy(16), layers.Dense(12), layers.Reshape((3, 4))]
    )
    decoder = keras.Sequential(
        [keras.Input((3, 4)), layers.Flatten(), *noisy(16), layers.Dense(64), layers.Reshape((8, 8))]
    )
    vae = DiscreteVAE(encoder, decoder, estimator="relax", seed=5)
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=jit_compile, steps_per_execution=1)
    return vae


def fit(vae, *callbacks, epochs=3):
    vae.fit(X, epochs=epochs, batch_size=10, verbose=0, shuffle=False, callbacks=list(callbacks))
    return vae


@pytest.mark.slow
def test_training_is_the_same_to_the_bit_with_and_without_it():
    # Compiled: without XLA two plain trainings may differ in the last bits on a busy machine.
    noise = GradientNoise(None, X[:8], unit="batches", every=2, num_draws=3)
    with_it, without = fit(stateful_model(True), noise), fit(stateful_model(True))
    assert len(noise.history) == 6
    assert len(with_it.variables) == len(without.variables)
    for ours, theirs in zip(with_it.variables, without.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    for ours, theirs in zip(with_it.optimizer.variables, without.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.slow
def test_a_measurement_changes_no_variable(jit_compile):
    noise, vae = GradientNoise(None, X[:8], num_draws=3), stateful_model(jit_compile)
    variables = [*vae.variables, *vae.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    noise.set_model(vae)
    noise.on_train_begin()
    noise.on_epoch_end(0)
    assert noise.history[0].noise > 0
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)


@pytest.mark.parametrize(("estimator", "jit_compile"), [("score_function", True), ("gumbel_softmax", False)])
def test_ratio_is_that_of_draws_of_the_training_gradient(estimator, jit_compile):
    noise = GradientNoise(None, X[:8], num_draws=6, seed=7)
    vae = fit(model(estimator, jit_compile), noise, epochs=2)
    draws = []
    for draw in range(6):
        with tf.GradientTape() as tape:
            seed = fold_in(seed_of(7, "gradient noise"), draw)
            loss = tf.reduce_mean(vae.negative_elbo(X[:8], seed=seed, training=True).loss)
        gradient = tape.gradient(loss, [variable.value for variable in vae.encoder.trainable_variables])
        draws.append(np.concatenate([np.ravel(part) for part in gradient]))
    scatter = float(np.var(draws, axis=0, ddof=1).sum())
    record = noise.history[-1]
    assert record.step == 2
    assert record.noise == pytest.approx(scatter, rel=1e-4)
    assert record.signal == pytest.approx(
        float(np.sum(np.mean(draws, axis=0) ** 2)) - scatter / 6, rel=1e-3, abs=1e-4 * scatter
    )
    assert record.ratio == pytest.approx(max(record.signal, 0.0) / record.noise)


def test_running_ratio_is_that_of_decayed_means():
    noise = GradientNoise(None, X[:8], num_draws=3, decay=0.5)
    fit(model(), noise, epochs=3)
    weights = 0.5 ** np.arange(3)[::-1]
    for count in (1, 2, 3):
        past = noise.history[:count]
        signal = weights[-count:] @ [record.signal for record in past]
        scatter = weights[-count:] @ [record.noise for record in past]
        assert past[-1].running_ratio == pytest.approx(max(signal, 0.0) / scatter, rel=1e-5)


def test_a_gradient_without_noise_has_an_infinite_ratio():
    noise = GradientNoise(None, X[:8], num_draws=3)
    fit(model("enumeration"), noise, epochs=1)
    assert noise.history[0].noise == 0.0
    assert noise.history[0].ratio == np.inf


def test_a_gradient_that_is_always_zero_has_no_ratio():
    assert np.isnan(GradientNoiseRecord(1, 0.0, 0.0, np.nan).ratio)


@pytest.mark.slow
def test_less_noise_of_the_estimator_is_a_larger_ratio():
    ratios = []
    for estimator in ("gumbel_softmax", "score_function"):
        noise = GradientNoise(None, X, num_draws=16)
        fit(model(estimator), noise, epochs=1)
        ratios.append(noise.history[0].ratio)
    assert ratios[0] > 3 * ratios[1]


def test_epochs_between_two_measurements_are_left_out():
    noise = GradientNoise(None, X[:8], every=2, num_draws=2)
    fit(model(), noise, epochs=5)
    assert [record.step for record in noise.history] == [2, 4]


@pytest.mark.parametrize(("per_execution", "steps"), [(1, [3, 6, 9, 12]), (4, [4, 8, 12])])
def test_batches_are_counted_over_executions_of_several(per_execution, steps):
    noise = GradientNoise(None, X[:8], every=3, unit="batches", num_draws=2)
    fit(model(steps_per_execution=per_execution), noise, epochs=3)
    assert [record.step for record in noise.history] == steps


def test_each_fit_starts_anew():
    noise = GradientNoise(None, X[:8], num_draws=2)
    vae = fit(model(), noise, epochs=2)
    fit(vae, noise, epochs=1)
    assert [record.step for record in noise.history] == [1]
    assert noise.history[0].running_ratio == pytest.approx(noise.history[0].ratio)


def test_both_ratios_are_written_for_tensorboard(tmp_path):
    noise = GradientNoise(tmp_path, X[:8], num_draws=2)
    fit(model(), noise, epochs=2)
    written = {}
    for path in tmp_path.iterdir():
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                written[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    assert written == {
        (f"gradient/{name}", record.step): pytest.approx(value, rel=1e-6)
        for record in noise.history
        for name, value in (("signal_to_noise", record.ratio), ("running_signal_to_noise", record.running_ratio))
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be an integer of at least 1"),
        ({"unit": "epoch"}, "Did you mean 'epochs'"),
        ({"num_draws": 1}, "num_draws must be an integer of at least 2"),
        ({"decay": 1.0}, r"decay must be in \[0, 1\)"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        GradientNoise(None, X, **options)


def test_another_model_is_refused():
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.compile("sgd", "mse")
    with pytest.raises(InputError, match="encoder. Received: Sequential"):
        other.fit(np.zeros((2, 2)), np.zeros((2, 1)), verbose=0, callbacks=[GradientNoise(None, X)])


def test_a_measurement_that_is_not_finite_is_not_a_number_and_no_part_of_the_running_means():
    noise = GradientNoise(None, X[:8], num_draws=2)
    noise.set_model(model())
    noise.on_train_begin()
    found = iter([(np.nan, 1.0), (1.0, 2.0), (np.nan, np.nan), (np.inf, 1.0), (1.0, 2.0)])
    noise._moments = lambda x: next(found)
    for epoch in range(5):
        noise.on_epoch_end(epoch)
    np.testing.assert_array_equal([record.ratio for record in noise.history], [np.nan, 0.5, np.nan, np.nan, 0.5])
    np.testing.assert_allclose([record.running_ratio for record in noise.history], [np.nan, 0.5, 0.5, 0.5, 0.5])


@pytest.mark.parametrize("decay", [None, "a", 1.0, -0.1])
def test_another_decay_is_refused(decay):
    with pytest.raises(InputError, match=r"decay must be in \[0, 1\)"):
        GradientNoise(None, X[:8], decay=decay)
