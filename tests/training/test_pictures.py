import numpy as np
import tensorflow as tf

from tfdiscrete.training.pictures import (
    figure_tensor,
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


def test_a_saved_picture_is_a_png_and_nothing_else_is_left(tmp_path):
    path = save_figure(usage_figure(np.eye(3)), tmp_path / "usage.png")
    assert tf.io.decode_png(path.read_bytes()).shape[-1] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["usage.png"]


def test_tensorboard_gets_a_batch_of_one_picture():
    tensor = figure_tensor(samples_figure(np.zeros((4, 2, 2))))
    assert tensor.dtype == tf.uint8
    assert tensor.shape[0] == 1
