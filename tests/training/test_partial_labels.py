import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.training import PartiallyLabelledBatches, RandomAffine, hide_labels

Y = np.random.default_rng(0).integers(4, size=200)


def counts(labels):
    return np.bincount(labels[labels >= 0], minlength=4)


@pytest.mark.parametrize("num_labelled", [4, 10, 40])
def test_each_class_keeps_as_many_labels_as_any_other(num_labelled):
    hidden = hide_labels(Y, num_labelled, seed=1)
    assert counts(hidden).sum() == num_labelled
    assert np.ptp(counts(hidden)) <= 1
    known = hidden >= 0
    np.testing.assert_array_equal(hidden[known], Y[known])
    assert (hidden[~known] == -1).all()


def test_the_choice_is_a_function_of_the_seed():
    np.testing.assert_array_equal(hide_labels(Y, 40, seed=1), hide_labels(Y, 40, seed=1))
    first, second = (np.flatnonzero(hide_labels(Y, 40, seed=seed) >= 0) for seed in (1, 2))
    assert len(np.intersect1d(first, second)) < 25


def test_no_class_is_favoured_by_the_remainder():
    seen = sum(counts(hide_labels(Y, 5, seed=seed)) for seed in range(200))
    # Each class has one label, and one in four times another: 200 (1 + 1/4), with a standard deviation of 6.
    np.testing.assert_allclose(seen, 250, atol=25)


def test_where_a_class_runs_out_the_others_fill_its_place():
    y = np.array([0] * 20 + [1] * 2)
    np.testing.assert_array_equal(counts(hide_labels(y, 10, seed=0))[:2], [8, 2])


def test_combinations_of_attributes_are_classes_and_partly_missing_ones_stay():
    y = np.stack([Y % 2, Y // 2], axis=-1)
    y[:10, 0] = -1
    hidden = hide_labels(y, 8, seed=0)
    np.testing.assert_array_equal(hidden[:10], y[:10])
    known = hidden[10:][(hidden[10:] >= 0).all(-1)]
    assert counts(known[:, 0] + 2 * known[:, 1]).tolist() == [2, 2, 2, 2]


def test_unsigned_labels_are_hidden_too():
    assert hide_labels(Y.astype("uint8"), 8, seed=0).min() == -1


@pytest.mark.parametrize(
    ("y", "count", "message"),
    [
        (Y + 0.5, 4, r"labels must be integers, \[n\] or \[n, A\]. Received: float64"),
        (Y, 201, "at most the number of labelled examples, 200. Received: 201"),
        (Y, 0, "num_labelled must be an integer of at least 1"),
    ],
)
def test_labels_that_cannot_be_hidden_are_refused(y, count, message):
    with pytest.raises(InputError, match=message):
        hide_labels(y, count, seed=0)


X = np.arange(23, dtype=np.float32)[:, None]
PARTIAL = np.where(np.arange(23) < 3, np.arange(23), -1)


def make_batches(**options):
    return PartiallyLabelledBatches(X, PARTIAL, **{"labelled": 2, "unlabelled": 5, "seed": 3, **options})


def epoch_of(batches, epoch=0):
    batches.on_epoch_begin(epoch)
    return [(x.numpy()[:, 0].astype(int), y.numpy()) for x, y in batches.dataset]


def test_each_batch_has_labelled_and_unlabelled_examples():
    epoch = epoch_of(make_batches())
    assert len(epoch) == int(make_batches().dataset.cardinality()) == make_batches().steps_per_epoch == 4
    for x, y in epoch:
        np.testing.assert_array_equal(y[:2], x[:2])
        assert (y[2:] == -1).all()
        assert len(x) == 7


def test_an_epoch_sees_no_example_twice_without_label_and_all_labels_alike():
    epoch = epoch_of(make_batches())
    assert len({example for x, _ in epoch for example in x[2:]}) == 20
    labelled = np.concatenate([x[:2] for x, _ in epoch])
    # Whole passes over the three labelled ones.
    assert sorted(labelled[:3]) == sorted(labelled[3:6]) == [0, 1, 2]


def test_each_pass_over_the_labelled_ones_has_its_own_order():
    partial = np.where(np.arange(23) < 10, np.arange(23) % 2, -1)
    batches = PartiallyLabelledBatches(X, partial, labelled=10, unlabelled=5, seed=0)
    passes = [x[:10].tolist() for x, _ in epoch_of(batches)]
    assert len({tuple(order) for order in passes}) == 4


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(batches, epoch):
        return np.concatenate([x for x, _ in epoch_of(batches, epoch)]).tolist()

    batches = make_batches()
    assert order(batches, 0) != order(batches, 1)
    assert order(batches, 7) == order(make_batches(), 7)
    assert order(batches, 7) != order(make_batches(seed=4), 7)


def test_labelled_examples_alone_are_augmented_with_a_seed_for_each_step():
    seeds = []
    batches = make_batches(augment=lambda x, seed: x + 100.0 * tf.cast(seed[1] + 1, tf.float32))
    for plain, (x, _) in zip(epoch_of(make_batches()), epoch_of(batches), strict=True):
        (shift,) = set(x[:2] - plain[0][:2])
        np.testing.assert_array_equal(x[2:], plain[0][2:])
        seeds.append(shift)
    assert len(set(seeds)) == 4


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (X, PARTIAL[:5], {}, "Received: 23 examples and 5 labels"),
        (X, PARTIAL.astype("float32"), {}, "y integers. Received: .* of float32"),
        (X, np.full(23, -1), {}, "no label is known, all are -1"),
        (X, np.where(np.arange(23) < 4, 1, -1), {}, "all known values of the label are 1"),
        (np.where(X == 4, np.nan, X), PARTIAL, {}, r"must be finite. Received: nan at index \(4, 0\)"),
        (X, PARTIAL, {"unlabelled": 24}, "unlabelled must be an integer of at least 1 and at most 23"),
        (X, PARTIAL, {"labelled": 0}, "labelled must be an integer of at least 1"),
    ],
)
def test_data_without_batches_are_refused(x, y, options, message):
    with pytest.raises(InputError, match=message):
        PartiallyLabelledBatches(x, y, **{"labelled": 2, "unlabelled": 5, "seed": 0, **options})


class TestRandomAffine:
    image = (np.random.default_rng(1).random((1, 9, 9)) < 0.4).astype("float32")

    def test_none_leaves_the_images_as_they_are(self):
        np.testing.assert_array_equal(RandomAffine()(self.image, tf.constant([0, 1])), self.image)

    @pytest.mark.parametrize("channels", [(), (2,)])
    def test_a_shift_moves_every_pixel_alike_and_brings_in_0(self, channels):
        images = np.zeros((500, 9, 9), np.float32)
        images[:, 4, 4] = 1.0
        stack = images.reshape(500, 9, 9, *[1] * len(channels)) * np.ones(channels, np.float32)
        moved = RandomAffine(shift=2.4)(stack, tf.constant([0, 1])).numpy()
        assert moved.shape == stack.shape
        moved = moved.reshape(500, 9, 9, -1)[..., 0]
        assert (moved.sum((1, 2)) == 1.0).all()
        where = np.argwhere(moved)[:, 1:]
        assert set(where[:, 0]) == set(where[:, 1]) == {2, 3, 4, 5, 6}

    def test_each_image_and_each_seed_has_its_own_and_one_seed_the_same(self):
        augment, images = RandomAffine(1, 10, 0.1, 0.1), np.repeat(self.image, 20, axis=0)
        moved = augment(images, tf.constant([0, 1])).numpy()
        np.testing.assert_array_equal(moved, augment(images, tf.constant([0, 1])))
        assert len(np.unique(moved.reshape(20, -1), axis=0)) > 5
        assert (moved != augment(images, tf.constant([0, 2])).numpy()).any()
        assert set(np.unique(moved)) <= {0.0, 1.0}

    @pytest.mark.parametrize("option", [{"degrees": 20.0}, {"zoom": 0.3}, {"shear": 0.3}])
    def test_the_middle_stays_where_it_is(self, option):
        image = np.zeros((50, 9, 9), np.float32)
        image[:, 4, 4] = 1.0
        assert (RandomAffine(**option)(image, tf.constant([0, 1])).numpy()[:, 4, 4] == 1.0).all()

    def test_a_bar_is_turned_by_no_more_than_the_largest_angle(self):
        bars = np.zeros((200, 41, 41), np.float32)
        bars[:, 20, :] = 1.0
        turned = RandomAffine(degrees=30.0)(bars, tf.constant([0, 1])).numpy()
        rise = np.array([np.argmax(image[:, 35]) for image in turned]) - 20
        largest = 15 * np.tan(np.radians(30))
        assert largest - 2 < np.abs(rise).max() <= largest + 1

    def test_an_amount_below_0_is_refused(self):
        with pytest.raises(InputError, match="degrees must be a finite number of at least 0"):
            RandomAffine(degrees=-1.0)
