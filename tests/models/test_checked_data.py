"""Data of a data set are refused as arrays are, and none are lost by looking at them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import deep_problem, label_problem
from tests.replicas import two_replicas
from tfdiscrete import priors
from tfdiscrete.errors import InputError
from tfdiscrete.layers import LookupFreeQuantizer
from tfdiscrete.models import CodePrior, DiscreteVAE, VectorQuantizedVAE
from tfdiscrete.models.checked_data import CheckedData, checking
from tfdiscrete.objectives import Bernoulli
from tfdiscrete.ops.shares import Shares, WorkerDataset

layers = keras.layers
PIXELS, BATCH = 4, 4
X = (np.random.default_rng(0).random((20, PIXELS)) < 0.4).astype("float32")
Y = np.arange(20) % 3
GREY = "zeros and ones. Received: data from 0 to 0.5.*In batch 1 of the data set"


def make_vae(eager=True, jit=False, **options):
    encoder = keras.Sequential([keras.Input((PIXELS,)), layers.Dense(6), layers.Reshape((2, 3))])
    decoder = keras.Sequential([keras.Input((2, 3)), layers.Flatten(), layers.Dense(PIXELS)])
    vae = DiscreteVAE(encoder, decoder, estimator="enumeration", seed=1, **options)
    for number, weight in enumerate(vae.trainable_variables):
        weight.assign(np.random.default_rng(number).normal(size=weight.shape))
    vae.compile("sgd", run_eagerly=eager, jit_compile=jit)
    return vae


def make_vq_vae():
    encoder = keras.Sequential([keras.Input((PIXELS,)), layers.Dense(4), layers.Reshape((2, 2))])
    decoder = keras.Sequential([keras.Input((2, 2)), layers.Flatten(), layers.Dense(PIXELS)])
    prior = priors.Autoregressive(num_blocks=1, num_heads=1, width=4)
    vae = VectorQuantizedVAE(encoder, LookupFreeQuantizer(2), decoder, likelihood="bernoulli", prior=prior)
    vae.compile("sgd", run_eagerly=True)
    return vae


def eager(model):
    model.compile("sgd", run_eagerly=True)
    return model


MODELS = {
    "discrete": make_vae,
    "deep": lambda: eager(deep_problem.make_model()),
    "semi_supervised": lambda: eager(label_problem.make_model()),
    "vector_quantized": make_vq_vae,
}
every_model = pytest.mark.parametrize("kind", MODELS)
both_verbs = pytest.mark.parametrize("verb", ["fit", "evaluate"])


def parts(kind, x=X, y=Y):
    return (x, y) if kind == "semi_supervised" else x


def dataset(data=X):
    return tf.data.Dataset.from_tensor_slices(data).batch(BATCH)


def run(model, data, verb="fit", **options):
    return getattr(model, verb)(data, verbose=0, **({"shuffle": False} if verb == "fit" else {}), **options)


class TestModels:
    @every_model
    @both_verbs
    def test_grey_data_are_refused(self, kind, verb):
        with pytest.raises(InputError, match=GREY):
            run(MODELS[kind](), dataset(parts(kind, X * 0.5)), verb)

    @every_model
    def test_grey_validation_data_are_refused(self, kind):
        with pytest.raises(InputError, match=GREY):
            run(MODELS[kind](), dataset(parts(kind)).take(1), validation_data=dataset(parts(kind, X * 0.5)))

    def test_validation_data_in_a_tuple_are_checked_too(self):
        with pytest.raises(InputError, match=GREY):
            run(make_vae(), dataset(), validation_data=(dataset(X * 0.5),))

    @pytest.mark.parametrize("wrong", [-2, 3, 255])
    @both_verbs
    def test_labels_out_of_range_are_refused(self, verb, wrong):
        with pytest.raises(InputError, match=rf"from 0 to 2, or -1.*Received: {wrong} at index \(0,\)"):
            run(MODELS["semi_supervised"](), dataset((X, np.where(Y == 0, wrong, Y))), verb)

    @pytest.mark.parametrize("wrong", [-1, 3])
    @both_verbs
    def test_classes_of_a_conditional_prior_out_of_range_are_refused(self, verb, wrong):
        vae = make_vae(prior=priors.Conditional(3))
        with pytest.raises(InputError, match=rf"classes must be from 0 to 2\..* Received: {wrong}. In batch 1"):
            run(vae, dataset((X, np.where(Y == 0, wrong, Y))), verb)

    def test_codes_out_of_range_are_refused(self):
        prior = priors.Autoregressive(num_blocks=1, num_heads=1, width=4)
        prior.build((2, 3))
        with pytest.raises(InputError, match="codes must be integers from 0 to 2.*from 3 to 3"):
            run(eager(CodePrior(prior)), dataset(np.full((8, 2), 3)))

    def test_the_message_is_that_of_arrays(self):
        x = np.where(np.arange(PIXELS) == 2, np.nan, X)
        messages = []
        for data in (x[:BATCH], dataset(x)):
            with pytest.raises(InputError) as caught:
                run(make_vae(), data)
            assert caught.value.__cause__ is None
            assert caught.value.__suppress_context__ or caught.value.__context__ is None
            messages.append(str(caught.value))
        assert messages[1] == f"{messages[0]} In batch 1 of the data set."

    @both_verbs
    def test_it_comes_out_of_graphs_compiled_by_xla_that_take_several_steps(self, verb):
        vae = make_vae(eager=False, jit=True)
        assert vae.steps_per_execution > 1
        with pytest.raises(InputError, match=GREY):
            run(vae, dataset(X * 0.5), verb)

    @both_verbs
    def test_a_generator_is_checked_too(self, verb):
        def batches():
            for _ in range(3):
                yield (X[:BATCH],)
            yield (X[:BATCH] * 0.5,)

        with pytest.raises(InputError, match="data from 0 to 0.5.*In batch 4 of the data set"):
            run(make_vae(), batches(), verb, **({"steps_per_epoch": 4} if verb == "fit" else {}))

    @pytest.mark.parametrize("make", [make_vae, make_vq_vae])
    def test_fit_prior_refuses_what_fit_refuses(self, make):
        vae = make()
        prior = () if make is make_vq_vae else (priors.Autoregressive(num_blocks=1, num_heads=1, width=4),)
        with pytest.raises(InputError, match="data from 0 to 0.5"):
            vae.fit_prior(X * 0.5, *prior)
        with pytest.raises(InputError, match=GREY):
            vae.fit_prior(X, *prior, validation_data=dataset(X * 0.5))


class TestGoodData:
    def test_what_is_there_once_is_trained_on_whole_to_the_same_bits(self):
        once = iter([X[start : start + BATCH] for start in range(0, len(X), BATCH)])
        batches = tf.data.Dataset.from_generator(
            lambda: once, output_signature=tf.TensorSpec([None, PIXELS], tf.float32)
        )
        vae, reference = make_vae(eager=False), make_vae(eager=False)
        run(vae, batches, steps_per_epoch=5)
        run(reference, X, batch_size=BATCH)
        assert vae.optimizer.iterations.numpy() == 5
        for one, other in zip(vae.weights, reference.weights, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_labels_and_missing_ones_are_taken(self):
        model = MODELS["semi_supervised"]()
        run(model, dataset((X, np.where(Y == 0, -1, Y).astype("int8"))).take(2))
        assert model.optimizer.iterations.numpy() == 2

    def test_an_error_of_the_data_set_itself_stays_what_it_is(self):
        broken = dataset().map(lambda x: tf.debugging.check_numerics(x * float("nan"), "broken"))
        with pytest.raises(tf.errors.InvalidArgumentError, match="broken"):
            run(make_vae(), broken)


class TestTwoReplicas:
    @both_verbs
    @pytest.mark.parametrize("is_divided", [False, True])
    def test_data_are_refused(self, verb, is_divided):
        strategy = two_replicas()
        with strategy.scope():
            vae = make_vae(eager=False)
        data = dataset(X * 0.5)
        with pytest.raises(InputError, match=GREY):
            run(vae, Shares(strategy).read(data) if is_divided else data, verb)

    def test_validation_data_are_refused(self):
        with two_replicas().scope():
            vae = make_vae(eager=False)
        with pytest.raises(InputError, match=GREY):
            run(vae, dataset().take(1), validation_data=dataset(X * 0.5))


class TestCheckedData:
    def passed(self, data, check=lambda x, y: None):
        with checking(check) as checked:
            return checked(data)

    @pytest.mark.parametrize(
        "data",
        [
            dataset(),
            dataset((X,)),
            dataset((X, Y)),
            dataset({"x": X}),
            dataset().repeat(),
            dataset().filter(lambda x: True),
            dataset().apply(tf.data.experimental.assert_cardinality(5)),
            Shares(tf.distribute.get_strategy()).read(dataset((X, Y))),
        ],
    )
    def test_number_kind_and_batches_stay_the_same(self, data):
        passed = self.passed(data)
        assert passed.cardinality() == data.cardinality()
        assert passed.element_spec == data.element_spec
        assert isinstance(passed, WorkerDataset) == isinstance(data, WorkerDataset)
        for one, other in zip(passed.take(5), data.take(5), strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, one, other)

    def test_batches_1_2_4_8_and_so_on_of_each_pass_are_looked_at(self):
        seen = []
        numbers = tf.data.Dataset.range(1, 21).map(lambda number: (number, -number))
        passed = self.passed(numbers, lambda x, y: seen.append((int(x), int(y))))
        for _ in range(2):
            assert [int(x) for x, y in passed] == [*range(1, 21)]
        assert seen == 2 * [(1, -1), (2, -2), (4, -4), (8, -8), (16, -16)]

    def test_a_generator_yields_all_and_is_looked_at_alike(self):
        seen = []
        batches = ((np.array([number]),) for number in range(1, 21))
        passed = self.passed(batches, lambda x, y: seen.append(int(x[0])))
        assert [int(x[0]) for (x,) in passed] == [*range(1, 21)]
        assert seen == [1, 2, 4, 8, 16]

    def test_the_error_is_that_of_the_first_batch_though_more_are_read(self):
        checked = CheckedData(lambda x, y: Bernoulli().check(x))
        batches = iter(checked(dataset(X * 0.5)))
        for _ in range(2):
            with pytest.raises(tf.errors.InvalidArgumentError):
                next(batches)
        assert "In batch 1 of the data set" in str(checked.error)

    def test_what_is_no_array_is_left_to_keras(self):
        for data in (None, [X, X], "text"):
            assert CheckedData(lambda x, y: 1 / 0)(data) is data
