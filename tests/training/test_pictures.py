import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.training.pictures import (
    code_maps_figure,
    figure_tensor,
    label_rows_figure,
    reconstructions_figure,
    samples_figure,
    save_figure,
    usage_figure,
)


def pixels(figure):
    return figure.axes[0].images[0].get_array()


def test_each_original_stands_above_its_reconstruction():
    x = np.zeros((4, 2, 2))
    x[1] = 1.0
    canvas = pixels(reconstructions_figure(x, 1.0 - x))
    originals, reconstructions = canvas[1:3], canvas[4:6]
    np.testing.assert_array_equal(originals[:, 4:6], 0.0)
    np.testing.assert_array_equal(originals[:, 1:3], 1.0)
    np.testing.assert_array_equal(reconstructions[:, 4:6], 1.0)
    np.testing.assert_array_equal(reconstructions[:, 1:3], 0.0)


def test_any_number_of_samples_is_shown_whole():
    for count in (1, 2, 5, 64):
        canvas = pixels(samples_figure(np.ones((count, 3, 3))))
        assert (canvas == 0.0).sum() == 9 * count


def test_labels_are_rows_and_styles_columns():
    images = np.zeros((3, 2, 4, 4))
    images[2, 0] = 1.0
    canvas = pixels(label_rows_figure(images))
    assert canvas.shape == (3 * 5 + 1, 2 * 5 + 1)
    np.testing.assert_array_equal(canvas[11:15, 1:5], 0.0)
    assert (canvas == 0.0).sum() == 16


def test_a_saved_picture_is_a_png_and_nothing_else_is_left(tmp_path):
    path = save_figure(usage_figure(np.eye(3)), tmp_path / "usage.png")
    assert tf.io.decode_png(path.read_bytes()).shape[-1] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["usage.png"]


def test_tensorboard_gets_a_batch_of_one_picture():
    tensor = figure_tensor(samples_figure(np.zeros((4, 2, 2))))
    assert tensor.dtype == tf.uint8
    assert tensor.shape[0] == 1


@pytest.mark.parametrize("books", [(), (2,)], ids=["one", "two"])
def test_code_maps_stand_between_originals_and_reconstructions(books):
    rng = np.random.default_rng(0)
    x, index = rng.random((3, 4, 4)), rng.integers(5, size=(3, 2, 2, *books))
    figure = code_maps_figure(x, index, 1.0 - x, num_codes=5)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert len(shown) == 3 * (4 if books else 3)
    for i in range(3):
        np.testing.assert_allclose(shown[i], 1.0 - x[i])
        np.testing.assert_allclose(shown[-3 + i], x[i])
        for book in range(*books or (1,)):
            codes = index[i, ..., book] if books else index[i]
            np.testing.assert_allclose(shown[3 + 3 * book + i] * 4, codes)


def test_at_most_ten_code_maps_are_shown():
    x = np.zeros((12, 4, 4))
    assert len(code_maps_figure(x, np.zeros((12, 2, 2), int), x, num_codes=1).axes) == 3 * 10


def test_codes_that_are_no_maps_are_refused():
    with pytest.raises(InputError, match=r"codes must be maps \[B, h, w\] or \[B, h, w, G\]"):
        code_maps_figure(np.zeros((3, 4, 4)), np.zeros((3, 7), int), np.zeros((3, 4, 4)), num_codes=8)
