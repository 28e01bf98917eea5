import numpy as np
import pytest

from tfdiscrete.errors import InputError
from tfdiscrete.training import ShuffledBatches


def epoch_order(batches, epoch):
    batches.on_epoch_begin(epoch)
    return [batch.numpy()[:, 0].astype(int).tolist() for batch in batches.dataset]


@pytest.fixture
def x():
    return np.arange(23, dtype=np.float32)[:, None]


def test_each_epoch_passes_once_over_every_example(x):
    batches = ShuffledBatches(x, batch_size=5, seed=3)
    order = epoch_order(batches, 0)
    assert [len(batch) for batch in order] == [5, 5, 5, 5, 3]
    assert sorted(example for batch in order for example in batch) == list(range(23))
    assert int(batches.dataset.cardinality()) == 5


def test_the_order_is_a_function_of_seed_and_epoch(x):
    first, second = (ShuffledBatches(x, batch_size=5, seed=3) for _ in range(2))
    assert epoch_order(first, 0) != epoch_order(first, 1)
    assert epoch_order(first, 7) == epoch_order(second, 7)
    assert epoch_order(ShuffledBatches(x, batch_size=5, seed=4), 7) != epoch_order(second, 7)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_that_are_not_finite_are_refused_with_their_place(x, bad):
    x[4, 0] = bad
    with pytest.raises(InputError, match=r"must be finite. Received: (nan|inf) at index \(4, 0\), 1 such"):
        ShuffledBatches(x, batch_size=5, seed=0)


def test_no_data_are_refused(x):
    with pytest.raises(InputError, match="at least one example"):
        ShuffledBatches(x[:0], batch_size=5, seed=0)
