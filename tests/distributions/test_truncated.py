import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tests.dtypes import FLOATS
from tfdiscrete import InputError
from tfdiscrete.distributions import Truncated, is_family
from tfdiscrete.estimators import Enumeration

tfd = tfp.distributions


def of(x):
    return tf.constant(x, tf.float64)


# Each law of TFP, SciPy's, and where it is cut; TFP's geometric law counts failures, SciPy's trials.
LAWS = {
    "poisson": (lambda: tfd.Poisson(of(3.0)), scipy.stats.poisson(3), 0, 12),
    "poisson, both sides": (lambda: tfd.Poisson(of(100.0)), scipy.stats.poisson(100), 50, 150),
    "poisson, far tails": (lambda: tfd.Poisson(of(100.0)), scipy.stats.poisson(100), 1, 300),
    "poisson, small rate": (lambda: tfd.Poisson(of(1e-6)), scipy.stats.poisson(1e-6), 0, 9),
    "poisson, large rate": (lambda: tfd.Poisson(of(1e4)), scipy.stats.poisson(1e4), 9500, 10500),
    "poisson, large log rate": (lambda: tfd.Poisson(log_rate=of(np.log(1e4))), scipy.stats.poisson(1e4), 0, 20),
    "binomial": (lambda: tfd.Binomial(20.0, probs=of(0.3)), scipy.stats.binom(20, 0.3), 0, 20),
    "binomial, both sides": (lambda: tfd.Binomial(1000.0, probs=of(0.01)), scipy.stats.binom(1000, 0.01), 3, 60),
    "geometric": (lambda: tfd.Geometric(probs=of(0.3)), scipy.stats.geom(0.3, loc=-1), 0, 40),
    "geometric, both sides": (lambda: tfd.Geometric(probs=of(0.01)), scipy.stats.geom(0.01, loc=-1), 5, 3000),
    "negative binomial": (lambda: tfd.NegativeBinomial(3.0, probs=of(0.4)), scipy.stats.nbinom(3, 0.6), 0, 30),
    "negative binomial, both": (
        lambda: tfd.NegativeBinomial(3.5, probs=of(0.99)),
        scipy.stats.nbinom(3.5, 0.01),
        9,
        3e3,
    ),
    "zipf": (lambda: tfd.Zipf(of(2.5)), scipy.stats.zipf(2.5), 1, 50),
    "zipf, both sides": (lambda: tfd.Zipf(of(1.5)), scipy.stats.zipf(1.5), 5, 2000),
    "beta-binomial": (lambda: tfd.BetaBinomial(20.0, of(2.0), of(3.0)), scipy.stats.betabinom(20, 2, 3), 3, 17),
    "uniform": (
        lambda: tfd.FiniteDiscrete(of(np.arange(2.0, 8)), probs=of(np.full(6, 1 / 6))),
        scipy.stats.randint(2, 8),
        3,
        6,
    ),
    "bernoulli": (lambda: tfd.Bernoulli(probs=of(0.3)), scipy.stats.bernoulli(0.3), 0, 1),
    "categorical": (lambda: tfd.Categorical(probs=of(np.full(6, 1 / 6))), scipy.stats.randint(0, 6), 1, 4),
}
every_law = pytest.mark.parametrize(("make", "law", "low", "high"), LAWS.values(), ids=LAWS)


def truncated_pmf(law, low, high):
    """SciPy's, with the tails' masses at the ends."""
    pmf = law.pmf(np.arange(low, high + 1))
    pmf[0], pmf[-1] = law.cdf(low), law.sf(high - 1)
    return pmf


def poissons(rates=(0.5, 3.0, 9.0), high=12, dtype="float64"):
    return Truncated(tfd.Poisson(tf.constant(rates, dtype)), high=high)


class TestMass:
    @every_law
    def test_pmf_and_cdf_are_scipy_s(self, make, law, low, high):
        q, outcomes = Truncated(make(), low, int(high)), np.arange(low, high + 1)
        expected = truncated_pmf(law, low, int(high))
        # SciPy's own tails lose digits below 1e-290.
        np.testing.assert_allclose(q.prob(outcomes), expected, rtol=1e-6, atol=1e-290)
        np.testing.assert_allclose(q.cdf(outcomes[:-1]), law.cdf(outcomes[:-1]), rtol=1e-6)
        np.testing.assert_allclose(q.survival_function(outcomes[:-1]), law.sf(outcomes[:-1]), rtol=1e-6, atol=1e-290)
        np.testing.assert_allclose(tf.reduce_sum(tf.exp(q.logits)), 1.0, rtol=1e-10)

    @every_law
    def test_moments_entropy_and_mode_are_numpy_s(self, make, law, low, high):
        q, outcomes = Truncated(make(), low, int(high)), np.arange(low, high + 1)
        pmf = truncated_pmf(law, low, int(high))
        mean = pmf @ outcomes
        np.testing.assert_allclose(q.mean(), mean, rtol=1e-9)
        np.testing.assert_allclose(q.variance(), pmf @ (outcomes - mean) ** 2, rtol=1e-9)
        np.testing.assert_allclose(q.entropy(), scipy.stats.entropy(pmf), rtol=1e-9)
        np.testing.assert_allclose(pmf[int(q.mode()) - low], pmf.max(), rtol=1e-9)

    def test_geometric_counts_failures_as_in_tfp(self):
        q = Truncated(tfd.Geometric(probs=0.3), high=40)
        np.testing.assert_allclose(q.prob([0.0, 1.0, 2.0]), [0.3, 0.3 * 0.7, 0.3 * 0.49], rtol=1e-6)

    def test_multinomial_is_scipy_s_over_all_outcomes(self):
        p = [0.7, 0.2, 0.1]
        q = Truncated(tfd.Multinomial(3.0, probs=of(p)))
        outcomes = q.outcomes.numpy()
        assert outcomes.shape == (10, 3)
        assert len(np.unique(outcomes, axis=0)) == 10
        np.testing.assert_array_equal(outcomes.sum(-1), 3.0)
        law = scipy.stats.multinomial(3, p)
        np.testing.assert_allclose(q.prob(outcomes), law.pmf(outcomes), rtol=1e-9)
        np.testing.assert_allclose(tf.exp(q.logits), law.pmf(outcomes), rtol=1e-9)
        np.testing.assert_allclose(q.mean(), 3 * np.array(p), rtol=1e-9)
        np.testing.assert_allclose(q.variance(), np.diag(law.cov()), rtol=1e-9)
        np.testing.assert_array_equal(q.mode(), [3, 0, 0])

    def test_dirichlet_multinomial_is_scipy_s(self):
        q = Truncated(tfd.DirichletMultinomial(3.0, of([1.0, 2.0, 0.5])))
        expected = scipy.stats.dirichlet_multinomial([1.0, 2.0, 0.5], 3).pmf(q.outcomes.numpy().astype(int))
        np.testing.assert_allclose(tf.exp(q.logits), expected, rtol=1e-9)

    def test_outside_of_the_support_there_is_no_mass(self):
        q = Truncated(tfd.Poisson(of(5.0)), 2, 9)
        np.testing.assert_array_equal(q.prob([1.0, 2.5, 10.0, -3.0]), np.zeros(4))
        np.testing.assert_array_equal(q.log_prob([1.0, 2.5, 10.0]), np.full(3, -np.inf))
        np.testing.assert_allclose(q.cdf([1.0, 2.5, 9.0, 100.0]), [0, q.prob(2.0), 1, 1], rtol=1e-12)
        vectors = Truncated(tfd.Multinomial(2.0, probs=of([0.5, 0.5])))
        np.testing.assert_array_equal(vectors.prob([[1.0, 2.0], [0.5, 1.5]]), [0, 0])

    def test_impossible_outcomes_have_finite_logits_and_no_mass(self):
        q = Truncated(tfd.Binomial(tf.constant([2.0, 4.0]), logits=tf.constant([0.0, 1.0])))
        assert np.isfinite(q.logits).all()
        np.testing.assert_array_equal(q.log_prob(3.0)[0], -np.inf)
        np.testing.assert_allclose(q.mean(), [1.0, 4 / (1 + np.exp(-1.0))], rtol=1e-6)

    def test_one_outcome_is_certain(self):
        q = Truncated(tfd.Poisson([2.0, 5.0]), 3, 3)
        np.testing.assert_array_equal(q.logits, [[0.0], [0.0]])
        np.testing.assert_array_equal(q.mean(), [3.0, 3.0])

    def test_a_law_with_a_cdf_and_no_known_support_needs_both_ends(self):
        mixture = tfd.MixtureSameFamily(tfd.Categorical(probs=of([0.3, 0.7])), tfd.Poisson(of([1.0, 6.0])))
        outcomes = np.arange(20)
        pmf = 0.3 * truncated_pmf(scipy.stats.poisson(1), 0, 19) + 0.7 * truncated_pmf(scipy.stats.poisson(6), 0, 19)
        np.testing.assert_allclose(Truncated(mixture, 0, 19).prob(outcomes), pmf, rtol=1e-6)
        with pytest.raises(InputError, match="MixtureSameFamily has no known low end: pass low"):
            Truncated(mixture, high=19)


class TestTolerance:
    @pytest.mark.parametrize("tolerance", [0.1, 1e-3, 1e-9])
    @pytest.mark.parametrize(
        ("make", "law"),
        [
            (lambda: tfd.Poisson(of(0.01)), scipy.stats.poisson(0.01)),
            (lambda: tfd.Poisson(of(3.0)), scipy.stats.poisson(3)),
            (lambda: tfd.Poisson(of(100.0)), scipy.stats.poisson(100)),
            (lambda: tfd.Binomial(500.0, probs=of(0.3)), scipy.stats.binom(500, 0.3)),
            (lambda: tfd.Geometric(probs=of(0.07)), scipy.stats.geom(0.07, loc=-1)),
            (lambda: tfd.NegativeBinomial(5.0, probs=of(0.9)), scipy.stats.nbinom(5, 0.1)),
        ],
    )
    def test_total_variation_to_the_untruncated_law_is_within_it_and_the_ends_are_narrow(self, make, law, tolerance):
        q = Truncated(make(), tolerance=tolerance)
        long = np.arange(5000)
        cut = np.zeros(5000)
        cut[q.low : q.high + 1] = q.prob(np.arange(q.low, q.high + 1))
        total_variation = 0.5 * np.abs(cut - law.pmf(long)).sum()
        assert total_variation <= tolerance + 1e-13
        np.testing.assert_allclose(q.tail_mass(), total_variation, rtol=1e-6, atol=1e-13)
        # one outcome fewer on the right would be too few
        assert law.cdf(q.low - 1) + law.sf(q.high - 1) > tolerance
        assert law.cdf(q.low - 1) <= tolerance / 2 < law.cdf(q.low)

    def test_reference_and_the_ends_of_a_range_and_a_batch_place_the_ends(self):
        ends = Truncated(tfd.Poisson(of(1.0)), tolerance=1e-6), Truncated(tfd.Poisson(of(9.0)), tolerance=1e-6)
        assert ends[0].high < ends[1].high
        q = tfd.Poisson(of([4.0, 5.0]))
        references = tfd.Poisson(of(9.0)), [tfd.Poisson(of(1.0)), tfd.Poisson(of(9.0))], tfd.Poisson(of([1.0, 9.0]))
        for reference in references:
            cut = Truncated(q, tolerance=1e-6, reference=reference)
            assert (cut.low, cut.high) == (ends[1].low, ends[1].high)
        assert Truncated(tfd.Poisson(of([1.0, 9.0])), tolerance=1e-6).high == ends[1].high

    def test_a_given_end_is_kept(self):
        q = Truncated(tfd.Poisson(of(100.0)), low=60, tolerance=1e-3)
        assert q.low == 60
        assert scipy.stats.poisson(100).sf(q.high) <= 1e-3 < scipy.stats.poisson(100).sf(q.high - 1)
        q = Truncated(tfd.Poisson(of(100.0)), high=133, tolerance=1e-3)
        left = 1e-3 - scipy.stats.poisson(100).sf(133)
        assert left < 5e-4
        assert scipy.stats.poisson(100).cdf(q.low - 1) <= left < scipy.stats.poisson(100).cdf(q.low)
        with pytest.raises(InputError, match=r"low=95, high=200 leave a mass of 0\.2"):
            Truncated(tfd.Poisson(of(100.0)), 95, 200, tolerance=1e-3)
        with pytest.raises(InputError, match=r"low=95, high=None leave a mass of 0\.2"):
            Truncated(tfd.Poisson(of(100.0)), low=95, tolerance=1e-3)

    def test_under_tracing_concrete_references_work_and_symbolic_parameters_are_refused(self):
        prior = tfd.Poisson(of(3.0))

        def mean(rate, reference):
            return Truncated(tfd.Poisson(rate), tolerance=1e-6, reference=reference).mean()

        np.testing.assert_allclose(tf.function(lambda x: mean(x, prior))(of([2.0, 3.0])), [2.0, 3.0], rtol=1e-5)
        with pytest.raises(InputError, match="a tolerance needs concrete parameters.* Pass reference"):
            tf.function(lambda x: mean(x, None))(of([2.0, 3.0]))

    @pytest.mark.parametrize("tolerance", [0.0, 1.0, -1e-3, float("nan"), "1e-3", True])
    def test_other_than_numbers_between_0_and_1_are_refused(self, tolerance):
        with pytest.raises(InputError, match=r"tolerance must be a number in \(0, 1\)"):
            Truncated(tfd.Poisson(3.0), tolerance=tolerance)

    def test_a_law_of_another_kind_and_nan_and_a_missing_tolerance_are_refused(self):
        with pytest.raises(InputError, match="reference must be a Poisson or a list of them"):
            Truncated(tfd.Poisson(3.0), tolerance=1e-3, reference=tfd.Geometric(0.3))
        with pytest.raises(InputError, match="finite parameters"):
            Truncated(tfd.Poisson(np.nan), tolerance=1e-3)
        with pytest.raises(InputError, match="pass tolerance too"):
            Truncated(tfd.Poisson(3.0), high=9, reference=tfd.Poisson(3.0))


class TestFamily:
    def test_it_is_a_family_with_the_distribution_s_batch(self):
        q = Truncated(tfd.Poisson(tf.ones([4, 5])), high=12)
        assert is_family(q)
        assert (q.batch_shape, q.event_shape, q.logits.shape) == ((4, 5), (), (4, 5, 13))
        np.testing.assert_array_equal(q.batch_shape_tensor(), [4, 5])
        np.testing.assert_array_equal(q.event_shape_tensor(), [])
        assert q.relax([0, 1], 3, 0.5).shape == (3, 4, 5, 13)
        assert q.decode(tf.exp(q.relax([0, 1], 3, 0.5))).shape == (3, 4, 5)
        assert q.sample([2, 3], seed=[0, 1]).shape == (2, 3, 4, 5)
        vectors = Truncated(tfd.Multinomial(2.0, logits=tf.zeros([4, 5, 3])))
        assert (vectors.batch_shape, vectors.event_shape, vectors.logits.shape) == ((4, 5), (3,), (4, 5, 6))
        assert vectors.sample(2, seed=[0, 1]).shape == (2, 4, 5, 3)
        assert vectors.log_prob(vectors.sample(2, seed=[0, 1])).shape == (2, 4, 5)

    def test_samples_have_the_stated_pmf(self):
        q, count = Truncated(tfd.Poisson(of(5.0)), 2, 8), 100_000
        sample = q.sample(count, seed=[1, 2]).numpy()
        observed = np.bincount(sample.astype(int) - 2, minlength=7)
        assert set(sample) <= set(np.arange(2.0, 9.0))
        expected = count * truncated_pmf(scipy.stats.poisson(5), 2, 8)
        assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3

    def test_samples_of_vectors_have_the_stated_pmf(self):
        q, count = Truncated(tfd.Multinomial(3.0, probs=of([0.5, 0.3, 0.2]))), 50_000
        sample = q.sample(count, seed=[1, 2]).numpy()
        observed = (sample[:, None] == q.outcomes.numpy()).all(-1).sum(0)
        assert scipy.stats.chisquare(observed, count * np.exp(q.logits)).pvalue > 1e-3

    @pytest.mark.parametrize("temperature", [0.01, 1.0, 10.0])
    def test_argmax_of_relaxed_samples_has_the_stated_pmf(self, temperature):
        q, count = Truncated(tfd.Poisson(of(5.0)), 2, 8), 50_000
        observed = np.bincount(np.argmax(q.relax([1, 2], count, temperature), axis=-1), minlength=7)
        assert scipy.stats.chisquare(observed, count * truncated_pmf(scipy.stats.poisson(5), 2, 8)).pvalue > 1e-3

    def test_relaxed_and_hard_samples_of_one_seed_share_their_noise_and_meet_at_low_temperature(self):
        q = poissons()
        hard = q.sample(200, seed=[1, 2]).numpy()
        relaxed = q.decode(tf.exp(q.relax([1, 2], 200, 1e-3))).numpy()
        # noise that ties to within 1e-2 keeps a few between two outcomes
        assert (np.abs(relaxed - hard) < 1e-3).mean() > 0.98
        assert np.abs(q.decode(tf.exp(q.relax([1, 2], 200, 1.0))).numpy() - hard).max() > 0.5

    def test_enumeration_gives_the_closed_form_gradient_of_the_mean_and_of_the_square(self):
        rate = of([[0.5], [3.0], [9.0]])
        for cost, expected in ((lambda z: z, 1.0), (tf.square, 2 * rate + 1)):
            with tf.GradientTape() as tape:
                tape.watch(rate)
                q = Truncated(tfd.Poisson(rate), high=80)
                estimate = Enumeration().estimate(q, lambda z, cost=cost: cost(z)[..., 0], seed=[0, 1])
            np.testing.assert_allclose(tape.gradient(estimate.value, rate), expected * np.ones((3, 1)), rtol=1e-9)

    def test_mass_at_the_ends_has_the_gradient_of_the_tails(self):
        rate, step = of(100.0), 1e-4
        with tf.GradientTape() as tape:
            tape.watch(rate)
            mean = Truncated(tfd.Poisson(rate), 90, 105).mean()

        def expected(rate):
            return truncated_pmf(scipy.stats.poisson(rate), 90, 105) @ np.arange(90, 106)

        np.testing.assert_allclose(
            tape.gradient(mean, rate), (expected(100 + step) - expected(100 - step)) / (2 * step), rtol=1e-6
        )

    def test_zipf_has_the_whole_gradient(self):
        power, step = of(2.5), 1e-5
        with tf.GradientTape() as tape:
            tape.watch(power)
            log_pmf = Truncated(tfd.Zipf(power), high=9).logits
        difference = [np.log(truncated_pmf(scipy.stats.zipf(2.5 + s), 1, 9)) for s in (step, -step)]
        np.testing.assert_allclose(
            tape.jacobian(log_pmf, power), (difference[0] - difference[1]) / (2 * step), rtol=1e-6
        )


class TestKL:
    @pytest.mark.parametrize(("of_q", "of_p"), [((3,), (3,)), ((3,), ()), ((2, 3), (3,)), ((2, 1), (3,))])
    def test_it_is_numpy_s_and_broadcasts(self, of_q, of_p):
        rng = np.random.default_rng(0)
        rates = [rng.uniform(0.5, 9.0, size=shape) for shape in (of_q, of_p)]
        q, p = (np.exp(poissons(rate).logits) for rate in rates)
        kl = poissons(rates[0]).kl_divergence(poissons(rates[1]))
        np.testing.assert_allclose(kl, (q * np.log(q / p)).sum(-1), rtol=1e-9)

    def test_it_is_between_0_and_the_untruncated_one(self):
        q, p = 4.0, 3.0
        whole = q * np.log(q / p) - q + p
        np.testing.assert_allclose(poissons(q, 100).kl_divergence(poissons(p, 100)), whole, rtol=1e-9)
        assert 0 < poissons(q, 5).kl_divergence(poissons(p, 5)) < whole
        np.testing.assert_allclose(poissons(q).kl_divergence(poissons(q)), 0.0, atol=1e-15)

    def test_gradient_is_the_finite_difference(self):
        rate, step, p = of(4.0), 1e-5, poissons(3.0, 6)
        with tf.GradientTape() as tape:
            tape.watch(rate)
            kl = poissons(rate, 6).kl_divergence(p)
        difference = [poissons(4.0 + s, 6).kl_divergence(p) for s in (step, -step)]
        np.testing.assert_allclose(tape.gradient(kl, rate), (difference[0] - difference[1]) / (2 * step), rtol=1e-7)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    def test_value_and_gradient_are_finite_when_probabilities_underflow(self, dtype):
        rate = tf.constant([1e-6, 1.0, 100.0, 1e4], dtype)
        for other in (1e-3, 100.0):
            with tf.GradientTape() as tape:
                tape.watch(rate)
                kl = Truncated(tfd.Poisson(rate), high=2000).kl_divergence(
                    Truncated(tfd.Poisson(tf.constant(other, dtype)), high=2000)
                )
            assert np.isfinite(tf.cast(kl, tf.float64)).all()
            assert np.isfinite(tf.cast(tape.gradient(kl, rate), tf.float64)).all()

    def test_supports_that_differ_are_refused_and_stated(self):
        with pytest.raises(InputError, match=r"the same outcomes in both\. Received: 0\.\.12 and 0\.\.13"):
            poissons(3.0, 12).kl_divergence(poissons(3.0, 13))
        vectors = Truncated(tfd.Multinomial(2.0, probs=of([0.5, 0.5])))
        with pytest.raises(InputError, match=r"3 vectors of 2 counts and 0\.\.12"):
            vectors.kl_divergence(poissons(3.0))

    def test_with_an_untruncated_law_it_names_the_truncated_one(self):
        q, p = poissons(3.0), tfd.Poisson(of(3.0))
        for one, other in ((q, p), (p, q), (q, tfd.Categorical(logits=of([0.0, 1.0])))):
            with pytest.raises(
                InputError, match=r"KL\(.* has no closed form.*Truncated\(law, low=q\.low, high=q\.high\)"
            ):
                tfd.kl_divergence(one, other)


class TestExtremes:
    @pytest.mark.parametrize("dtype", FLOATS)
    @pytest.mark.parametrize(
        ("make", "parameters", "low", "high"),
        [
            (tfd.Poisson, [1e-6, 1.0, 1e4], 0, 100),
            (tfd.Poisson, [1e-6, 1.0, 1e4], 50, 150),
            (tfd.Poisson, [0.0, 1.0, 1e4], 1, 4000),
            (lambda x: tfd.Poisson(log_rate=x), [-100.0, 0.0, 9.0], 2, 60),
            (lambda x: tfd.Geometric(logits=x), [-100.0, 0.0, 100.0], 1, 60),
            (lambda x: tfd.Binomial(20.0, logits=x), [-100.0, 0.0, 100.0], 2, 17),
            (lambda x: tfd.NegativeBinomial(3.0, logits=x), [-100.0, 0.0, 100.0], 2, 60),
            (lambda x: tfd.NegativeBinomial(0.5, logits=x), [-100.0, 0.0, 100.0], 2, 60),
            (tfd.Zipf, [1.01, 2.0, 100.0], 2, 60),
        ],
    )
    def test_values_and_gradients_are_finite(self, make, parameters, low, high, dtype):
        if make is tfd.Zipf and dtype == "float16":
            pytest.skip("TFP's Zipf takes no float16")
        parameter = tf.constant(parameters, dtype)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(parameter)
            q = Truncated(make(parameter), low, high)
            relaxed = [q.decode(tf.exp(q.relax([1, 2], 5, temperature))) for temperature in (1e-3, 10.0)]
            results = [q.mean(), q.variance(), q.entropy(), q.log_prob(q.sample(3, seed=[1, 2])), *relaxed]
            results = [tf.reduce_sum(tf.cast(result, tf.float32)) for result in results]
        assert q.dtype == (tf.float64 if dtype == "float64" else tf.float32)
        assert np.isfinite(q.logits).all()
        for result in results:
            assert np.isfinite(result)
            assert np.isfinite(tf.cast(tape.gradient(result, parameter), tf.float64)).all()

    @pytest.mark.parametrize("rate", [3.0, 100.0, 1e4])
    def test_float32_parameters_give_scipy_s_pmf_to_float32_s_precision(self, rate):
        low, high = int(max(0, rate - 6 * rate**0.5)), int(rate + 6 * rate**0.5)
        q, law = Truncated(tfd.Poisson(tf.constant(rate, tf.float32)), low, high), scipy.stats.poisson(rate)
        np.testing.assert_allclose(q.logits[1:-1], law.logpmf(np.arange(low + 1, high)), rtol=1e-6)
        np.testing.assert_allclose(q.logits[-1], law.logsf(high - 1), rtol=1e-6)

    def test_a_nan_parameter_is_reported_with_validate_args_alone(self):
        rate = tf.constant([1.0, np.nan])
        assert np.isnan(Truncated(tfd.Poisson(rate), high=9).mean()[1])
        with pytest.raises(tf.errors.InvalidArgumentError, match="logits must be finite"):
            Truncated(tfd.Poisson(rate), high=9, validate_args=True).mean()


class TestExecution:
    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize(
        ("make", "options"),
        [
            (tfd.Poisson, {"low": 1, "high": 12}),
            (lambda x: tfd.NegativeBinomial(3.0, logits=x), {"low": 1, "high": 12}),
            pytest.param(lambda x: tfd.Binomial(9.0, logits=x), {"low": 2, "high": 7}, marks=pytest.mark.slow),
            pytest.param(lambda x: tfd.Geometric(logits=x), {"high": 12}, marks=pytest.mark.slow),
            pytest.param(lambda x: tfd.Zipf(1.5 + x), {"high": 12}, marks=pytest.mark.slow),
        ],
    )
    def test_batch_size_may_be_unknown_when_traced(self, make, options, jit_compile):
        shapes = {}

        def results(parameter):
            with tf.GradientTape() as tape:
                tape.watch(parameter)
                q = Truncated(make(parameter), **options)
                kl = q.kl_divergence(Truncated(make(of(0.5)), **options))
            return {
                "sample": q.sample(4, seed=[1, 2]),
                "relaxed": q.relax([1, 2], 4, 0.5),
                "log_prob": q.log_prob(q.sample(4, seed=[1, 2])),
                "mean": q.mean(),
                "kl": kl,
                "gradient": tape.gradient(kl, parameter),
            }

        @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 2], tf.float64)])
        def traced(parameter):
            found = results(parameter)
            shapes.update({name: result.shape.as_list() for name, result in found.items()})
            return found

        parameter = np.random.default_rng(0).uniform(0.1, 2.0, size=(5, 2))
        found, expected = traced(parameter), results(of(parameter))
        categories = [Truncated(make(of(0.5)), **options).logits.shape[-1]]
        assert shapes == {
            "sample": [4, None, 2],
            "relaxed": [4, None, 2, *categories],
            "log_prob": [4, None, 2],
            "mean": [None, 2],
            "kl": [None, 2],
            "gradient": [None, 2],
        }
        for name, result in expected.items():
            np.testing.assert_allclose(found[name], result, rtol=1e-8, err_msg=name)

    def test_a_keras_variable_is_read_where_the_law_is_made(self):
        variable = keras.Variable(np.float32([1.0, 2.0]))
        with tf.GradientTape() as tape:
            mean = Truncated(tfd.Poisson(variable.value), high=50).mean()
        np.testing.assert_allclose(mean, [1.0, 2.0], rtol=1e-5)
        np.testing.assert_allclose(tape.gradient(mean, variable.value), [1.0, 1.0], rtol=1e-4)

    def test_copy_keeps_the_support(self):
        q = Truncated(tfd.Poisson(of(3.0)), tolerance=1e-6)
        assert q.copy(name="other").high == q.high


class TestRefusals:
    def test_more_than_max_support_outcomes_are_refused_with_their_number(self):
        with pytest.raises(InputError, match=r"0\.\.4096 has 4097 outcomes, more than max_support=4096"):
            Truncated(tfd.Poisson(3.0), high=4096)
        assert Truncated(tfd.Poisson(3.0), high=4096, max_support=5000).logits.shape == (4097,)
        with pytest.raises(InputError, match="20 draws among 5 categories has 10626 outcomes"):
            Truncated(tfd.Multinomial(20.0, logits=tf.zeros([5])))
        with pytest.raises(InputError, match="outcomes, more than max_support"):
            Truncated(tfd.Zipf(of(2.0)), tolerance=1e-4)
        with pytest.raises(InputError, match="the law's tail is too heavy"):
            Truncated(tfd.Zipf(of(1.1)), tolerance=1e-4)

    @pytest.mark.parametrize(
        ("ends", "message"),
        [
            ({}, "Poisson has no known high end: pass high, or a tolerance"),
            ({"low": 5, "high": 3}, r"ends must be in order and within the support of Poisson, 0\.\.inf"),
            ({"low": -1, "high": 3}, "Received: low=-1, high=3"),
            ({"high": 3.0}, "high must be an integer"),
            ({"high": tf.constant(3)}, "high must be an integer"),
            ({"high": True}, "high must be an integer"),
            ({"high": 3, "max_support": 0}, "max_support must be an integer of at least 1"),
        ],
    )
    def test_ends_must_be_integers_in_order_within_the_support(self, ends, message):
        with pytest.raises(InputError, match=message):
            Truncated(tfd.Poisson(3.0), **ends)

    def test_ends_beyond_a_bounded_support_are_refused(self):
        with pytest.raises(InputError, match=r"support of Binomial, 0\.\.5"):
            Truncated(tfd.Binomial(5.0, probs=0.3), high=6)

    def test_laws_without_a_cdf_and_of_unbounded_support_are_refused(self):
        with pytest.raises(InputError, match="Skellam has no cdf .* A law with a cdf works"):
            Truncated(tfd.Skellam(3.0, 4.0), -5, 5)

    def test_what_is_no_count_law_is_refused(self):
        with pytest.raises(InputError, match="distribution must be a tfd.Distribution"):
            Truncated(3.0, 0, 5)
        with pytest.raises(InputError, match=r"one of counts, or tfd\.Multinomial"):
            Truncated(tfd.MultivariateNormalDiag([0.0, 0.0]))
        with pytest.raises(InputError, match="is enumerated, not cut"):
            Truncated(tfd.Multinomial(3.0, logits=[0.0, 0.0]), high=2)
        with pytest.raises(InputError, match="outcomes of FiniteDiscrete must be concrete integers"):
            Truncated(tfd.FiniteDiscrete([0.0, 0.5], probs=[0.5, 0.5]))

    def test_a_symbolic_total_count_is_refused(self):
        traced = tf.function(lambda n: Truncated(tfd.Binomial(n, probs=0.3)).mean())
        with pytest.raises(InputError, match="total_count of Binomial must be a number"):
            traced(tf.constant(5.0))

    def test_a_cdf_of_vectors_is_refused(self):
        with pytest.raises(InputError, match="not ordered"):
            Truncated(tfd.Multinomial(2.0, probs=[0.5, 0.5])).cdf([1.0, 1.0])


@pytest.mark.parametrize(
    ("law", "high", "exact"),
    [
        (lambda: tfd.Poisson(3), 5, scipy.stats.poisson(3)),
        (lambda: tfd.Binomial(5, logits=0), 5, scipy.stats.binom(5, 0.5)),
        (lambda: tfd.NegativeBinomial(5, logits=1), 9, scipy.stats.nbinom(5, 1 / (1 + np.e))),
        (lambda: tfd.BetaBinomial(5, 1, 2), 5, scipy.stats.betabinom(5, 1, 2)),
    ],
    ids=["poisson", "binomial", "negative_binomial", "beta_binomial"],
)
def test_parameters_may_be_python_integers(law, high, exact):
    pmf = tf.exp(Truncated(law(), high=high).logits)
    np.testing.assert_allclose(pmf[:-1], exact.pmf(np.arange(high)), rtol=1e-5)
    np.testing.assert_allclose(pmf[-1], exact.sf(high - 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("law", "sure"),
    [
        (lambda: tfd.Geometric(probs=1.0), 0),
        (lambda: tfd.Binomial(4, probs=1.0), 4),
        (lambda: tfd.Binomial(4, probs=0.0), 0),
        (lambda: tfd.Poisson(0.0), 0),
    ],
)
def test_an_outcome_may_be_certain(law, sure):
    np.testing.assert_allclose(tf.exp(Truncated(law(), high=4).logits), np.eye(5)[sure], atol=1e-7)


def test_a_negative_rate_is_seen():
    assert np.isnan(Truncated(tfd.Poisson(-2.0), 0, 4).logits).all()


@pytest.mark.parametrize(
    "law", [lambda: tfd.Normal(0.0, 1.0), lambda: tfd.Gamma(2.0, 0.3), lambda: tfd.Uniform(0, 9.0)]
)
def test_continuous_laws_are_refused_and_quantizing_named(law):
    with pytest.raises(InputError, match=r"must be one of counts.*tfd\.QuantizedDistribution"):
        Truncated(law(), 0, 4)


@pytest.mark.parametrize(
    "law",
    [
        lambda probs: tfd.Binomial(5.0, probs=probs),
        lambda probs: tfd.NegativeBinomial(3.0, probs=probs),
        lambda probs: tfd.Geometric(probs=probs),
    ],
    ids=["binomial", "negative binomial", "geometric"],
)
@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_a_probability_that_a_sigmoid_rounded_has_a_finite_gradient(law, certain):
    probs = tf.constant([certain, 0.3])
    with tf.GradientTape() as tape:
        tape.watch(probs)
        q = Truncated(law(probs), low=0, high=5)
        mean = tf.reduce_sum(tf.exp(q.logits) * q.outcomes, axis=-1)
    gradient = tape.gradient(mean, probs).numpy()
    assert np.isfinite(gradient).all()
    assert gradient[0] == 0.0
    assert gradient[1] != 0.0
