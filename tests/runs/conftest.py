import pytest

from tfdiscrete import runs

SMALL = {"epochs": 3, "num_latents": 3, "num_categories": 4, "seed": 5}


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of three epochs, to be read only."""
    return runs.train(SMALL, tmp_path_factory.mktemp("runs") / "finished")
