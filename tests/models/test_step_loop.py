"""Models under a strategy: they train, evaluate and predict as one device does on the same batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.replicas import two_replicas
from tfdiscrete import priors
from tfdiscrete.errors import InputError
from tfdiscrete.layers import EMAUpdate, LookupFreeQuantizer, VectorQuantizer
from tfdiscrete.models import CodePrior, DiscreteVAE, VectorQuantizedVAE
from tfdiscrete.models.base import LatentVariableModel, Terms, finite_together
from tfdiscrete.ops import uniform

# Of batches of 5 the shares are 2 and 3 rows, and of the last batch one is empty. Five batches are no multiple of 3.
X = (np.random.default_rng(0).random((21, 6)) < 0.4).astype("float32")
BATCH, STEPS, EXECUTION = 5, 5, 3


def dense(units, seed, **options):
    return keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed), **options)


def make_vae(estimator="enumeration", *, latents=2, jit=False, execution=EXECUTION, optimizer=None, **options):
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            dense(3 * latents, 1, kernel_regularizer=keras.regularizers.L2(0.1)),
            keras.layers.Reshape((latents, 3)),
        ]
    )
    decoder = keras.Sequential([keras.Input((latents, 3)), keras.layers.Flatten(), dense(6, 2)])
    vae = DiscreteVAE(encoder, decoder, estimator=estimator, seed=1, **options)
    vae.compile(optimizer or keras.optimizers.SGD(0.5), jit_compile=jit, steps_per_execution=execution)
    return vae


def both(make, strategy=None):
    """A model of one device, and its like on two."""
    with (strategy or two_replicas()).scope():
        spread = make()
    return make(), spread


def fit(model, x=X, **options):
    return model.fit(x, **{"batch_size": BATCH, "epochs": 2, "shuffle": False, "verbose": 0, **options}).history


def assert_alike(one, other, rtol=1e-5, atol=1e-6):
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=rtol, atol=atol, err_msg=name)


def assert_equal_on_all_replicas(model):
    for variable in [*model.variables, *model.optimizer.variables]:
        copies = model.distribute_strategy.experimental_local_results(variable.value)
        for copy in copies[1:]:
            np.testing.assert_array_equal(copy, copies[0], err_msg=variable.path)


def weights(model):
    return {i: weight.numpy() for i, weight in enumerate(model.weights)}


class TestTwoReplicas:
    def test_they_train_evaluate_and_predict_as_one_device_does(self):
        alone, spread = both(make_vae)
        expected, history = (fit(model, validation_data=(X[:8],)) for model in (alone, spread))
        assert_alike(expected, history)
        assert_alike(weights(alone), weights(spread))
        assert spread.optimizer.iterations.numpy() == spread.counter.numpy() == 2 * STEPS
        expected, found = (model.predict(X, batch_size=BATCH, verbose=0) for model in (alone, spread))
        assert_alike(expected, found)
        expected, found = (
            model.evaluate(X, batch_size=BATCH, verbose=0, return_dict=True) for model in (alone, spread)
        )
        assert_alike(expected, found)

    @pytest.mark.slow
    def test_each_may_be_compiled_with_xla_up_to_its_gradients(self):
        alone, spread = both(lambda: make_vae(jit=True))
        assert_alike(fit(alone, epochs=1), fit(spread, epochs=1))
        assert_alike(weights(alone), weights(spread))

    def test_a_loss_scale_follows_the_gradients_of_all(self):
        def make():
            inner = keras.optimizers.SGD(0.1)
            return make_vae(optimizer=keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0))

        alone, spread = both(make)
        for model in (alone, spread):
            fit(model, epochs=1)
        assert_alike(weights(alone), weights(spread))
        assert_equal_on_all_replicas(spread)

    @pytest.mark.slow
    def test_what_an_estimator_computes_without_noise_does_not_depend_on_their_number(self):
        def make():
            # With one variable the gradient of its law is exact; that of the decoder is not.
            vae = make_vae("local_expectation", latents=1)
            vae.decoder.trainable = False
            return vae

        alone, spread = both(make)
        for model in (alone, spread):
            fit(model)
        assert_alike(weights(alone), weights(spread))

    def test_a_batch_of_its_own_is_the_batch_of_all(self):
        alone, spread = both(make_vae)
        for model in (alone, spread):
            model.train_on_batch(X)
        assert_alike(weights(alone), weights(spread))
        assert spread.test_on_batch(X) == pytest.approx(alone.test_on_batch(X), rel=1e-5)
        assert_alike(alone.predict_on_batch(X), spread.predict_on_batch(X))

    def test_they_take_the_steps_that_are_asked_for_inside_the_scope_too(self):
        strategy = two_replicas()
        with strategy.scope():
            vae = make_vae(execution="auto")
            vae.fit(tf.data.Dataset.from_tensor_slices(X).repeat().batch(4), steps_per_epoch=7, epochs=2, verbose=0)
        assert vae.optimizer.iterations.numpy() == 14
        assert vae.steps_per_execution == 7


@pytest.mark.parametrize(("bad", "finite"), [(float("inf"), False), (3.0, True)])
def test_a_gradient_that_overflows_on_one_replica_is_none_of_any(bad, finite):
    strategy = two_replicas()

    @tf.function
    def step():
        def of_replica():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            gradients = finite_together([tf.where(replica == 1, bad, 1.0) + tf.zeros([2]), None, tf.zeros([])])
            assert gradients[1] is None
            return gradients[::2]

        return [strategy.experimental_local_results(gradient) for gradient in strategy.run(of_replica)]

    found = [np.isfinite(gradient).all() for gradients in step() for gradient in gradients]
    assert found == [finite] * 4


@pytest.mark.parametrize(
    "name", ["nvil", *(pytest.param(name, marks=pytest.mark.slow) for name in ("score_function", "relax"))]
)
def test_baselines_and_control_variates_are_equal_on_all_replicas(name):
    with two_replicas().scope():
        vae = make_vae(name, optimizer=keras.optimizers.Adam(0.01))
    before = [weight.numpy() for weight in vae.estimator.weights]
    fit(vae, epochs=1)
    assert_equal_on_all_replicas(vae)
    assert any((weight.numpy() != old).any() for weight, old in zip(vae.estimator.weights, before, strict=True))
    assert all(np.isfinite(weight.numpy()).all() for weight in vae.weights)


class Noise(LatentVariableModel):
    """Reports the noise that it draws for each example, and its square."""

    reported = ("square",)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.weight = self.add_weight(shape=(), name="weight")
        self.built = True

    def terms(self, data, *, seed, training):
        noise = uniform(tf.shape(data)[:1], seed)
        return Terms(noise + 0.0 * self.weight.value, {"square": noise**2})

    def _unpack(self, data):
        return self._x_alone(data)

    def endpoints(self):
        return {}


@pytest.mark.parametrize("verb", ["fit", "evaluate"])
def test_replicas_draw_different_noise(verb):
    with two_replicas().scope():
        model = Noise(seed=3)
        model.compile("sgd")
    x = np.zeros((2, 1), "float32")
    if verb == "fit":
        figures = {name: values[0] for name, values in fit(model, x, epochs=1).items()}
    else:
        figures = model.evaluate(x, verbose=0, return_dict=True)
    # The variance of the two draws, one on each replica.
    assert figures["square"] - figures["loss"] ** 2 > 1e-4


class TestQuantizers:
    @staticmethod
    def make(quantizer):
        encoder = keras.Sequential([keras.Input((6,)), dense(8, 1), keras.layers.Reshape((2, 4))])
        decoder = keras.Sequential([keras.Input((2, 4)), keras.layers.Flatten(), dense(6, 2)])
        vae = VectorQuantizedVAE(encoder, quantizer, decoder, prior=None, seed=3)
        vae.compile(keras.optimizers.SGD(0.1), steps_per_execution=EXECUTION)
        return vae

    @pytest.mark.parametrize(
        "quantizer",
        [
            lambda: VectorQuantizer(6, update=EMAUpdate(0.6, restart_threshold=0.5), seed=5),
            lambda: LookupFreeQuantizer(4),
        ],
        ids=["ema", "lookup_free"],
    )
    def test_unequal_shares_train_them_as_one_device_does(self, quantizer):
        alone, spread = both(lambda: self.make(quantizer()))
        # Not the last batch of one: a start and a restart need rows, and one row makes all codes alike.
        assert_alike(fit(alone, X[:19]), fit(spread, X[:19]), rtol=1e-4)
        assert_alike(weights(alone), weights(spread), rtol=1e-4, atol=1e-5)
        assert_equal_on_all_replicas(spread)

    def test_what_learns_from_all_replicas_at_once_is_not_compiled(self):
        with two_replicas().scope():
            vae = self.make(VectorQuantizer(6, seed=5))
            vae.compile("sgd", jit_compile=True)
        with pytest.raises(InputError, match="which XLA cannot compile. Received: jit_compile=True"):
            fit(vae)


@pytest.mark.slow
def test_a_prior_of_codes_is_fitted_as_on_one_device():
    codes = np.random.default_rng(1).integers(3, size=(21, 2))

    def make():
        prior = priors.Autoregressive(num_blocks=1, num_heads=2, width=8, dropout=0.0, seed=4)
        prior.build((2, 3))
        model = CodePrior(prior, seed=2)
        model.compile(keras.optimizers.SGD(0.1), steps_per_execution=EXECUTION)
        return model

    alone, spread = both(make)
    assert_alike(fit(alone, codes), fit(spread, codes), rtol=1e-4)
    assert_alike(weights(alone), weights(spread), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_prior_of_the_posterior_is_fitted_by_all_replicas():
    strategy = two_replicas()
    with strategy.scope():
        vae = make_vae()
    prior = priors.Autoregressive(num_blocks=1, num_heads=2, width=8, seed=4)
    history = vae.fit_prior(X, prior, epochs=3, batch_size=BATCH, verbose=0, validation_data=X[:4]).history
    assert np.isfinite([*history.values()]).all()
    assert history["loss"][-1] < history["loss"][0]
    better = vae.with_prior(prior)
    assert better.distribute_strategy is strategy
    better.compile("sgd")
    assert np.isfinite(better.evaluate(X, batch_size=BATCH, verbose=0)).all()


@pytest.mark.parametrize("option", [{"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"clipvalue": 1.0}])
def test_an_optimizer_that_clips_parts_of_gradients_is_refused(option):
    with (
        two_replicas().scope(),
        pytest.raises(InputError, match=r"must not clip or accumulate gradients\. Received: \w+=1.0"),
    ):
        make_vae(optimizer=keras.optimizers.SGD(0.5, **option))
    make_vae(optimizer=keras.optimizers.SGD(0.5, **option))


def test_an_empty_share_is_refused_with_batch_normalization():
    with two_replicas().scope():
        encoder = keras.Sequential([keras.Input((6,)), keras.layers.BatchNormalization(), dense(6, 1)])
        encoder.add(keras.layers.Reshape((2, 3)))
        decoder = keras.Sequential([keras.Input((2, 3)), keras.layers.Flatten(), dense(6, 2)])
        vae = DiscreteVAE(encoder, decoder, estimator="enumeration", seed=1)
        vae.compile("sgd")
    vae.fit(X[:20], batch_size=BATCH, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="every replica needs an example of each batch"):
        vae.fit(X, batch_size=BATCH, verbose=0)
    assert np.isfinite(vae.evaluate(X, batch_size=BATCH, verbose=0)).all()


def test_validation_data_may_have_no_targets():
    one, spread = both(make_vae)
    assert_alike(fit(one, validation_data=(X, None)), fit(spread, validation_data=(X, None)))


def test_networks_without_an_input_shape_are_built_by_the_first_data():
    with two_replicas().scope():
        encoder = keras.Sequential([dense(6, 1), keras.layers.Reshape((2, 3))])
        vae = DiscreteVAE(encoder, keras.Sequential([keras.layers.Flatten(), dense(6, 2)]), seed=1)
    assert not vae.built
    assert vae.predict(X, verbose=0)["index"].shape == (21, 2)


class TestData:
    def test_an_epoch_goes_once_through_the_examples_in_an_order_that_the_seed_gives(self):
        with two_replicas().scope():
            first, second = make_vae(), make_vae()
        rows = np.arange(21)[:, None]
        orders = []
        for model in (first, second):
            batches = model._batches(rows, 4, True)
            for _ in range(2):
                orders.append(np.concatenate([batch[:, 0] for batch in batches]))
        for order in orders:
            assert sorted(order) == list(range(21))
        np.testing.assert_array_equal(orders[:2], orders[2:])
        assert (orders[0] != orders[1]).any()

    def test_what_cannot_be_divided_is_refused(self):
        strategy = two_replicas()
        with strategy.scope():
            vae = make_vae()
        divided = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(X).batch(4))
        with pytest.raises(InputError, match="give the data set of whole batches"):
            vae.fit(divided, verbose=0)
        with pytest.raises(InputError, match="Received: generator"):
            vae.fit((row for row in X), verbose=0)
        with pytest.raises(InputError, match="give validation_data. Received: validation_split"):
            vae.fit(X, validation_split=0.5, verbose=0)
