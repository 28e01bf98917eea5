"""A codebook in a Keras model: an autoencoder that makes 16 codes of each digit, of 32 that it has learned.

python examples/vector_quantizer.py     # about half a minute, writes codes.png; --smoke for a trial
"""

import argparse

import keras
import numpy as np
from matplotlib.figure import Figure

import tfdiscrete
from tfdiscrete.training import data
from tfdiscrete.training.pictures import save_figure


def networks():
    """The autoencoder, and from digits to their maps of codes."""
    digits = keras.Input((8, 8))
    x = keras.layers.Reshape((8, 8, 1))(digits)
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(16, 2, strides=2)(x)
    quantizer = tfdiscrete.layers.VectorQuantizer(32, seed=0, name="codes")
    code, index, _ = quantizer(x)
    x = keras.layers.Conv2DTranspose(32, 2, strides=2, activation="relu")(code)
    x = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    return keras.Model(digits, keras.layers.Reshape((8, 8))(x)), keras.Model(digits, index)


def picture(digits, maps, reconstructions) -> Figure:
    figure = Figure(figsize=(len(digits), 3.2), layout="constrained")
    rows = [(digits, "gray_r"), (maps, "nipy_spectral"), (reconstructions, "gray_r")]
    for axes, (images, colors) in zip(figure.subplots(3, len(digits)), rows, strict=True):
        for axis, image in zip(axes, images, strict=True):
            axis.imshow(image, cmap=colors, vmin=0, vmax=images.max())
            axis.set_axis_off()
    figure.suptitle("digits, their codes, and what the codes say", fontsize=9)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one epoch, to see that it runs")
    arguments = parser.parse_args()

    digits = data.load("digits")
    keras.utils.set_random_seed(0)
    autoencoder, encoder = networks()
    # The quantizer adds its own loss, and `fit` reports how many codes are in use: codes_perplexity.
    autoencoder.compile(keras.optimizers.Adam(3e-3), loss="mse")
    autoencoder.fit(digits.train.x, digits.train.x, epochs=1 if arguments.smoke else 60, batch_size=64, verbose=2)

    shown = digits.test.x[:10]
    maps = encoder.predict(shown, verbose=0)
    print("the codes of the first test digit, a", digits.test.y[0])
    print(maps[0])
    error = np.square(autoencoder.predict(digits.test.x, verbose=0) - digits.test.x).mean()
    mean = np.square(digits.test.x - digits.train.x.mean(0)).mean()
    print(f"mean squared error {error:.4f}; of the mean digit {mean:.4f}; 16 codes of 5 bits a digit")
    print(f"wrote {save_figure(picture(shown, maps, autoencoder.predict(shown, verbose=0)), 'codes.png')}")


if __name__ == "__main__":
    main()
