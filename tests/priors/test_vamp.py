import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.priors.arbitrary import DATA_SHAPE, SEED, all_codes, build, encoder_of, make_family
from tests.priors.models import bits, fit, make_vae
from tfdiscrete import InputError, priors
from tfdiscrete.metrics import information
from tfdiscrete.priors import VampPrior

EXAMPLES = np.random.default_rng(0).random((6, *DATA_SHAPE)).astype("float32")


@pytest.mark.parametrize("family", ["categorical", "bernoulli", "explicit counts"])
def test_of_all_data_it_is_the_aggregate_posterior(family):
    family = make_family(family)
    encode = encoder_of(family)
    prior = build(VampPrior(pseudo_inputs=EXAMPLES), family, encode)
    q = family.hard(family.distribution(encode(EXAMPLES)))
    aggregate = np.exp(q.log_prob(all_codes(family)[:, None])).mean(-1)
    np.testing.assert_allclose(np.exp(prior.log_prob(all_codes(family))), aggregate, rtol=1e-4)
    assert abs(information(q.logits, prior).marginal_kl.value) < 1e-5


def test_gradient_reaches_the_encoder():
    family = make_family("categorical")
    encode = encoder_of(family)
    prior = build(VampPrior(pseudo_inputs=EXAMPLES), family, encode)
    code = all_codes(family)[5]
    with tf.GradientTape() as tape:
        log_prob = prior.log_prob(code)
    gradient = tape.gradient(log_prob, encode.kernel).numpy()
    step = np.zeros_like(gradient)
    step[1, 2] = 1e-2
    encode.kernel.assign_add(step)
    above = prior.log_prob(code)
    encode.kernel.assign_sub(2 * step)
    assert gradient[1, 2] == pytest.approx(float(above - prior.log_prob(code)) / 2e-2, rel=1e-2)
    assert prior.trainable_weights == []


def test_training_moves_the_encoder_by_the_prior_s_share_too():
    x, _ = bits(10)
    encoders = []
    for stopped in (False, True):
        vae = make_vae(VampPrior(3), estimator="enumeration", optimizer=keras.optimizers.SGD(1.0))
        if stopped:
            encode = vae.prior._encode
            vae.prior.connect(lambda u, encode=encode: tf.stop_gradient(encode(u)) + 0.0 * tf.reduce_sum(u), (8,))
        fit(vae, x)
        encoders.append(vae.encoder.get_weights()[0])
    assert np.abs(encoders[0] - encoders[1]).max() > 1e-3


def test_the_pseudo_inputs_are_read_as_in_inference():
    x, _ = bits(20)
    dense, drop = keras.layers.Dense(6), keras.layers.Dropout(0.5)
    encoder = keras.Sequential([keras.Input((8,)), drop, dense, keras.layers.Reshape((2, 3), dtype="float32")])
    vae = type(make_vae("fixed"))(encoder, make_vae("fixed").decoder, prior=VampPrior(3), seed=0)
    log_prob = [vae.prior.log_prob(np.eye(3, dtype="float32")[[0, 1]]) for _ in range(2)]
    assert float(log_prob[0]) == float(log_prob[1])
    vae.compile("adam", jit_compile=False, steps_per_execution=1)
    fit(vae, x)


@pytest.mark.parametrize(("domain", "within"), [((0.0, 1.0), True), ((-1.0, 0.5), True), (None, False)])
def test_learned_inputs_stay_in_their_domain(domain, within):
    x, _ = bits(20)
    vae = make_vae(VampPrior(4, domain=domain), optimizer=keras.optimizers.SGD(30.0))
    (inputs,) = vae.prior.trainable_weights
    start = np.asarray(inputs)
    low, high = domain or (-1.0, 1.0)
    assert ((start >= low) & (start <= high)).all() == within
    fit(vae, x)
    moved = np.asarray(inputs)
    assert (moved != start).any()
    assert ((moved >= low) & (moved <= high)).all() == within
    if within:
        assert np.isin(moved, (low, high)).any()


def test_learned_inputs_start_at_given_examples_chosen_at_random_and_without_repetition():
    family = make_family("categorical")
    chosen = [build(VampPrior(4, start=EXAMPLES, seed=seed), family).get_weights()[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(chosen[0], chosen[1])
    assert (chosen[0] != chosen[2]).any()
    places = [[int(np.flatnonzero((row == EXAMPLES).all((1, 2)))[0]) for row in rows] for rows in chosen]
    assert all(len(set(rows)) == 4 for rows in places)


def test_fixed_examples_are_those_given_and_not_trained():
    x, _ = bits(20)
    vae = make_vae(VampPrior(pseudo_inputs=x[:5]))
    fit(vae, x)
    assert vae.prior.num_components == 5
    np.testing.assert_array_equal(vae.prior.get_weights()[0], x[:5])


def test_examples_are_weights_and_a_prior_made_of_the_config_alone_has_none():
    family = make_family("categorical")
    prior = build(VampPrior(pseudo_inputs=EXAMPLES), family)
    assert len(str(prior.get_config())) < 500
    twin = build(VampPrior.from_config(prior.get_config()), family)
    assert np.isnan(twin.log_prob(all_codes(family))).all()
    twin.set_weights(prior.get_weights())
    np.testing.assert_array_equal(twin.sample(50, SEED), prior.sample(50, SEED))


def test_without_a_model_it_says_what_it_needs():
    with pytest.raises(InputError, match=r"a model's posterior.*give it to a DiscreteVAE or a DeepDiscreteVAE, or"):
        VampPrior().build((2, 3))


@pytest.mark.parametrize("options", [{"pseudo_inputs": EXAMPLES}, {"num_components": 2, "start": EXAMPLES}])
def test_examples_of_another_shape_than_the_data_are_refused(options):
    with pytest.raises(InputError, match=r"have the data's shape \(8,\)\. Received: examples of shape \(2, 2\)"):
        make_vae(VampPrior(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_components": 0}, "num_components must be an integer of at least 1"),
        ({"num_components": 7, "pseudo_inputs": EXAMPLES}, "at most the number of examples.*=7 with 6 examples"),
        ({"start": EXAMPLES}, "at most the number of examples.*=100 with 6 examples"),
        ({"pseudo_inputs": "random"}, "must be 'learned' or an array of examples. Received: 'random'"),
        ({"pseudo_inputs": EXAMPLES, "start": EXAMPLES}, "fixed pseudo-inputs have no start"),
        ({"num_components": 2, "start": EXAMPLES + 1.0}, r"must lie in domain=\(0\.0, 1\.0\).*domain=None"),
        ({"num_components": 2, "start": EXAMPLES * np.nan}, "must be finite"),
        ({"domain": (1.0, 0.0)}, "low < high"),
        ({"domain": (0.0, np.inf)}, "both finite"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        VampPrior(**options)


def test_a_prior_of_a_label_has_no_posterior_to_read():
    prior = priors.get("vamp")
    assert prior.num_components == 100
    with pytest.raises(InputError, match="made of a model's posterior"):
        prior.build((1, 10))
