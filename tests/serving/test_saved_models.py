"""The model that is shipped in `saved_models/`."""

from pathlib import Path

import tensorflow as tf

from tfdiscrete.training import data

FOLDER = Path(__file__).parents[2] / "saved_models" / "digits"


def test_it_is_small_and_reconstructs_digits_better_than_any_constant_picture():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 1_000_000
    signatures = tf.saved_model.load(str(FOLDER / "1")).signatures
    digits = data.load("digits", binarize="threshold")
    x = digits.test.x
    code = signatures["encode"](x=tf.constant(x))["code"]
    reconstruction = signatures["decode"](code=code)["reconstruction"].numpy()
    errors = ((reconstruction > 0.5) != x).mean()
    constant_errors = ((digits.train.x.mean(0) > 0.5) != x).mean()
    assert errors < 0.6 * constant_errors


def test_its_readme_gives_the_command_that_made_it():
    text = (FOLDER.parent / "README.md").read_text()
    assert (
        "tfdiscrete train --num-latents 10 --out runs/saved && tfdiscrete export runs/saved saved_models/digits" in text
    )
