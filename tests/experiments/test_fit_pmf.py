import numpy as np
import pytest
import scipy.stats
from PIL import Image

from tfdiscrete import InputError, cli
from tfdiscrete.experiments import fit_pmf


def test_the_laws_are_scipy_s():
    binomial = fit_pmf.law_of("binomial")
    np.testing.assert_allclose(binomial.pmf, scipy.stats.binom(12, 0.3).pmf(binomial.outcomes), rtol=1e-9)
    negative = fit_pmf.law_of("negative_binomial")
    exact = scipy.stats.nbinom(50, 0.6).pmf(negative.outcomes)
    np.testing.assert_allclose(negative.pmf[1:-1], exact[1:-1], rtol=1e-9)
    assert 1.0 - exact.sum() <= 1e-4
    for name in fit_pmf.LAWS:
        law = fit_pmf.law_of(name)
        assert law.pmf.sum() == pytest.approx(1.0, abs=1e-9)
        assert len(law.outcomes) == len(law.pmf)


def test_weights_make_a_law():
    np.testing.assert_allclose(fit_pmf.law_of("1,2, 1").pmf, [0.25, 0.5, 0.25])


@pytest.mark.parametrize("text", ["1,", "1,a", "1,-1", "0,0", "nan,1", "inf,1"])
def test_what_are_no_weights_is_refused(text):
    with pytest.raises(InputError, match="a law is one of binomial, .* or at least two weights"):
        fit_pmf.law_of(text)


@pytest.mark.parametrize("family", fit_pmf.FAMILIES)
def test_the_samples_of_a_fit_follow_the_law(family):
    law = fit_pmf.law_of("10,1,5,1")
    fitted = fit_pmf.fit(law, family, temperature=0.01, num_samples=20_000)
    error = np.sqrt(law.pmf * (1 - law.pmf) / 20_000)
    assert fitted.total_variation < 5e-3
    assert (abs(fitted.frequencies - law.pmf) < 4.5 * error + 2 * fitted.total_variation).all()
    assert (abs(fitted.relaxed_mean - law.pmf) < 0.03).all()


def test_the_command_draws_each_law_and_prints_its_total_variation(tmp_path, capsys):
    out = tmp_path / "pictures"
    families = ["gumbel_softmax", "invertible_gaussian"]
    assert cli.main(["fit-pmf", "binomial", "3,1", "--out", str(out), "--families", *families]) == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["binomial.png", "law.png"]
    assert all(f"wrote {path}" in printed.replace("\n", "") for path in out.iterdir())
    assert all(printed.count(family) == 2 for family in families)
    with Image.open(out / "binomial.png") as picture:
        assert picture.width > 2 * picture.height


def test_every_law_of_weights_has_its_picture(tmp_path):
    results = fit_pmf.run(["1,2,1", "3,1,1", "3,1"], families=["gumbel_softmax"], out=tmp_path)
    assert [path.name for path, _ in results] == ["law.png", "law-2.png", "law-3.png"]
    assert [len(fits[0].frequencies) for _, fits in results] == [3, 3, 2]


def test_the_command_names_the_nearest_law(capsys):
    assert cli.main(["fit-pmf", "binomal"]) == 2
    assert "unknown law 'binomal'. Did you mean 'binomial'?" in capsys.readouterr().err
