"""`DiscreteVAE` with every family: honest bounds, saving and the exported signatures."""

import itertools

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests.families.test_contract import MAKE, N, probabilities_of_prior
from tfdiscrete import InputError
from tfdiscrete.models import DiscreteVAE
from tfdiscrete.serving.export import export_saved_model

layers = keras.layers
PIXELS = 5
X = (np.random.default_rng(0).random((24, PIXELS)) < 0.4).astype("float32")

# Families and estimators that belong together, besides each family's own.
ESTIMATORS = {
    "bernoulli": "disarm",
    "geometric-explicit": "score_function",
    "invertible_gaussian": "relax",
    "poisson-explicit": "vimco",
}


def make_vae(name, estimator=None, *, compiled=None, **options):
    family = MAKE[name]()
    seeds = (keras.initializers.GlorotUniform(seed) for seed in itertools.count())
    parameters = N * family.num_parameters
    encoder = keras.Sequential(
        [
            keras.Input((PIXELS,)),
            layers.Dense(parameters, kernel_initializer=next(seeds)),
            layers.Reshape((N, family.num_parameters)),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((N, *family.code_shape)),
            layers.Flatten(),
            layers.Dense(8, activation="tanh", kernel_initializer=next(seeds)),
            layers.Dense(PIXELS, kernel_initializer=next(seeds)),
        ]
    )
    vae = DiscreteVAE(encoder, decoder, family=family, estimator=estimator, seed=1, **options)
    vae.compile(keras.optimizers.Adam(0.02), **(compiled or {}))
    return vae


CASES = [(name, None) for name in MAKE] + list(ESTIMATORS.items())
FEW = [("bernoulli", None), ("poisson-explicit", None), ("planar", None), ("gaussian", None)]


def enumerated_evidence(vae, name):
    """log p(x) of the model with hard z, `[B]`; the prior's probabilities are SciPy's."""
    pmf = probabilities_of_prior(name)
    one_hot = np.eye(len(pmf), dtype="float32")[list(itertools.product(range(len(pmf)), repeat=N))]
    logits = vae.decoder.predict(vae.family.decode(tf.constant(one_hot)).numpy(), verbose=0, batch_size=4096)
    log_likelihood = X @ logits.T - np.logaddexp(0, logits).sum(-1)
    with np.errstate(divide="ignore"):
        return scipy.special.logsumexp(log_likelihood + (one_hot @ np.log(np.maximum(pmf, 1e-300))).sum(-1), axis=-1)


@pytest.mark.parametrize(
    ("name", "estimator"),
    [pytest.param(*case, marks=[] if case in FEW else [pytest.mark.slow]) for case in CASES],
    ids=str,
)
def test_what_evaluate_reports_bounds_the_enumerated_evidence(name, estimator):
    vae = make_vae(name, estimator, compiled={"jit_compile": False})
    vae.fit(X, epochs=30, batch_size=8, verbose=0)
    loss = vae.evaluate(X, verbose=0)[0]
    bounds = vae.bounds(X, seed=[1, 2], num_samples=500)
    elbo, importance_weighted = (float(tf.reduce_mean(values)) for values in (bounds.elbo, bounds.importance_weighted))
    assert np.isfinite(loss)
    assert abs(loss + elbo) < 0.5
    assert importance_weighted >= elbo - 1e-5
    if name == "gaussian":
        return
    if name in ("planar", "stick_breaking"):
        # The prior's probabilities are known by counting alone, and the bounds are those of the Gaussian behind z.
        if name == "stick_breaking":
            assert importance_weighted <= enumerated_evidence(vae, name).mean() + 0.05
        return
    evidence = enumerated_evidence(vae, name).mean()
    assert elbo <= evidence + 0.01
    assert importance_weighted == pytest.approx(evidence, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "estimator"), [*FEW, *ESTIMATORS.items()], ids=str)
def test_a_loaded_model_gives_the_same_and_trains_on_to_the_bit(tmp_path, name, estimator):
    vae = make_vae(name, estimator, prior="learned")
    vae.fit(X, epochs=2, batch_size=8, verbose=0)
    vae.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    first, second = (
        model.fit(X, epochs=2, batch_size=8, shuffle=False, verbose=0).history["loss"] for model in (vae, loaded)
    )
    assert first == second
    for key, value in vae.predict(X, verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(X, verbose=0)[key], value)
    np.testing.assert_array_equal(loaded.sample(5, [0, 1]), vae.sample(5, [0, 1]))


@pytest.mark.parametrize("name", ["poisson-explicit", "gaussian", "planar"])
def test_exported_signatures_take_the_family_s_codes(tmp_path, name):
    vae = make_vae(name)
    signatures = tf.saved_model.load(str(export_saved_model(vae, tmp_path))).signatures
    outputs = vae.predict(X, verbose=0)
    encoded = signatures["encode"](x=tf.constant(X))
    assert set(encoded) == set(outputs) - {"reconstruction"}
    np.testing.assert_allclose(encoded["code"], outputs["code"], rtol=1e-5, atol=1e-6)
    decoded = signatures["decode"](code=encoded["code"])["reconstruction"]
    np.testing.assert_allclose(decoded, outputs["reconstruction"], rtol=1e-5, atol=1e-6)
    assert signatures["sample"](seed=tf.constant([0, 1]), n=tf.constant(7))["samples"].shape == (7, PIXELS)


@pytest.mark.parametrize(
    ("name", "estimator"), [("gaussian", "score_function"), ("categorical", "pathwise"), ("planar", "relax")]
)
def test_an_estimator_that_the_family_has_no_law_for_is_refused(name, estimator):
    with pytest.raises(InputError, match="takes a"):
        make_vae(name, estimator).fit(X, verbose=0)
