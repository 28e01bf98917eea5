"""One layer in a Keras model: an autoencoder of digits whose bottleneck is 8 symbols of 16 letters.

python examples/one_layer.py            # about 20 s; --smoke for a trial
"""

import argparse

import keras
import numpy as np

import tfdiscrete
from tfdiscrete.training import data


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one epoch, to see that it runs")
    arguments = parser.parse_args()

    digits = data.load("digits")
    decay = tfdiscrete.training.ExponentialAnnealing(1.0, rate=1e-3, minimum=0.3)
    symbols = tfdiscrete.layers.GumbelSoftmax(temperature=decay, hard=True, seed=0, name="symbols")
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(8 * 16),
            keras.layers.Reshape((8, 16)),
            symbols,
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(64, activation="sigmoid"),
            keras.layers.Reshape((8, 8)),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), loss="mse")
    model.fit(digits.train.x, digits.train.x, epochs=1 if arguments.smoke else 100, batch_size=64, verbose=2)

    spell = keras.Model(model.inputs, symbols.output)
    words = spell.predict(digits.test.x[:5], verbose=0).argmax(-1)
    for label, word in zip(digits.test.y, words, strict=False):
        print(f"a {label} is spelled", "".join("ABCDEFGHIJKLMNOP"[letter] for letter in word))
    error = model.evaluate(digits.test.x, digits.test.x, verbose=0)
    mean = np.square(digits.test.x - digits.train.x.mean(0)).mean()
    print(f"mean squared error {error:.4f}; of the mean digit {mean:.4f}")


if __name__ == "__main__":
    main()
