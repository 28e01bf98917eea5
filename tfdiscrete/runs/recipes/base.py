"""A recipe: everything that is needed to repeat a run of one kind of model, and how the run is done.

The settings are the fields of a frozen dataclass, each with its help text; the methods make the model, its batches,
its pictures and its figures. `runs.train` goes through them in order, whatever the model.
"""

import abc
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import keras
from matplotlib.figure import Figure
from rich.console import Console

from tfdiscrete.errors import InputError, check_count, check_name, check_non_negative, check_positive, check_seed
from tfdiscrete.models import CodePrior, LatentVariableModel
from tfdiscrete.objectives import likelihoods
from tfdiscrete.priors import Autoregressive
from tfdiscrete.training import EpochProgress, PartiallyLabelledBatches, PictureSummaries, ShuffledBatches, data
from tfdiscrete.training.data import Dataset, Split

Row = tuple[str, str, str]
"""A figure's name, its value, and what it is."""


def setting(default, help_text: str, choices=None, *, check: Callable[[str, Any], Any] | None = None, parsed=False):
    """A field with what the command line says of it.

    Args:
        default: of one of the types str, int and float.
        help_text: one line.
        choices: the names that it may have.
        check: of the name and a value, raises `InputError`; by default integers are counts and floats are positive.
        parsed: whether it is a text of options, which a method `parsed_NAME` reads.
    """
    if check is None:
        check = {int: check_count, float: check_positive}.get(type(default), lambda name, value: value)
    metadata = {
        "help": help_text,
        "choices": None if choices is None else tuple(choices),
        "check": check,
        "parsed": parsed,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Recipe(abc.ABC):
    """The settings that all runs have; each is an option of `tfdiscrete train`, with underscores as dashes.

    Raises:
        InputError: for an unknown name or a number outside its range.
    """

    model: ClassVar[str]
    """Its name in `recipes.REGISTRY`, an entry of `config.json`."""
    summary: ClassVar[str]
    """What the model is, in a line of `--help`."""
    pictures: ClassVar[dict[str, str]]
    """The pictures of a finished run, `NAME.png`, and what each shows."""
    may_change: ClassVar[tuple[str, ...]] = ("epochs",)
    """The settings that a resumed run may have others of: those of what comes last."""

    dataset: str = setting("digits", "which data set", data.NAMES)
    binarize: str = setting(
        "auto",
        "how grey pixels become bits; auto is threshold under the Bernoulli likelihood and none otherwise",
        ("auto", *data.BINARIZATIONS),
    )
    likelihood: str = setting("bernoulli", "what the decoder's output means", likelihoods.REGISTRY)
    epochs: int = setting(300, "passes over the training data")
    batch_size: int = setting(100, "examples in a step")
    learning_rate: float = setting(1e-3, "Adam's")
    learning_rate_decay: str = setting("none", "cosine: to a hundredth, over all epochs", ("none", "cosine"))
    weight_decay: float = setting(
        0.0, "AdamW's, of all weights, in units of the learning rate; 0: none", check=check_non_negative
    )
    seed: int = setting(0, "of the weights, the order and the noise", check=lambda name, value: check_seed(value))

    def __post_init__(self):
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if option.metadata["choices"] is not None:
                check_name(option.name, value, option.metadata["choices"])
            option.metadata["check"](option.name, value)
            if option.metadata["parsed"]:
                getattr(self, f"parsed_{option.name}")()
        bits = self.binarization != "none" or self.dataset == "binarized_mnist"
        if bits != (self.likelihood == "bernoulli"):
            raise InputError(
                "the Bernoulli likelihood is for bits and the others for grey values. Received: "
                f"likelihood={self.likelihood!r} with binarize={self.binarize!r} of {self.dataset}; leave binarize out."
            )

    @property
    def signatures(self) -> str:
        """Those of its export."""
        return "encode, decode, sample"

    @property
    def binarization(self) -> str:
        """What "auto" stands for: a name of `data.BINARIZATIONS`."""
        if self.binarize != "auto":
            return self.binarize
        return "threshold" if self.likelihood == "bernoulli" else "none"

    # What a run does with it, in this order.

    def load_data(self) -> Dataset:
        """The data, as the model takes them."""
        return data.load(self.dataset, binarize=self.binarization)

    @abc.abstractmethod
    def make_batches(self, train: Split) -> ShuffledBatches | PartiallyLabelledBatches:
        """What `fit` is given."""

    @abc.abstractmethod
    def make_model(self, data_shape: tuple[int, ...], steps_per_epoch: int) -> LatentVariableModel:
        """The compiled model, with its optimizer built."""

    def callbacks(self, folder: str, held_out: Split) -> Sequence[keras.callbacks.Callback]:
        """What else goes into TensorBoard's folder while `fit` runs."""
        draw = functools.partial(self.draw, held_out=held_out)
        return [PictureSummaries(folder, draw, every=self.epochs // 10)]

    def after_fit(self, model: LatentVariableModel, dataset: Dataset, console: Console) -> LatentVariableModel:
        """Trains what is trained once `fit` has ended, anew in each run that is continued; the model to keep."""
        return model

    @abc.abstractmethod
    def draw(self, model: LatentVariableModel, held_out: Split) -> dict[str, Figure]:
        """The pictures named in `pictures`."""

    @abc.abstractmethod
    def evaluate(self, model: LatentVariableModel, held_out: Split) -> dict:
        """The figures of a trained model on held-out data, a dictionary of plain values."""

    @abc.abstractmethod
    def rows(self, metrics: dict) -> list[Row]:
        """Those figures for a person."""

    # For subclasses.

    def _compile(self, model: LatentVariableModel, num_steps: int) -> None:
        rate = self.learning_rate
        if self.learning_rate_decay == "cosine":
            rate = keras.optimizers.schedules.CosineDecay(rate, num_steps, alpha=0.01)
        model.compile(keras.optimizers.Adam(rate, weight_decay=self.weight_decay or None))
        model.optimizer.build(model.trainable_variables)

    def _fit_prior(self, prior: Autoregressive, train, valid, epochs: int, console: Console) -> None:
        """Trains a prior on codes, or on their logits; its progress is shown."""
        batches = ShuffledBatches(train, batch_size=self.batch_size, seed=self.seed)
        model = CodePrior(prior, seed=self.seed)
        self._compile(model, epochs * batches.steps_per_epoch)
        progress = EpochProgress(epochs, console, label="prior, epoch")
        try:
            model.fit(
                batches.dataset,
                epochs=epochs,
                validation_data=(valid,),
                shuffle=False,
                verbose=0,
                callbacks=[batches, progress],
            )
        finally:
            progress.close()

    # As JSON.

    def to_json(self) -> dict:
        """A dictionary of plain values."""
        return {"model": self.model, **dataclasses.asdict(self)}

    def __str__(self):
        return json.dumps(self.to_json())


def parse_options(name: str, text: str, example: str, owner: str, known: Callable[[], Sequence[str]]) -> dict:
    """The options in a text like the example: numbers, true and false, names, and schedules START:END:STEPS.

    `beta=8:1:20000` is a value that goes from 8 to 1 in a line over 20,000 steps, and stays there.

    Args:
        name: of the setting.
        text: its value.
        example: of such a text.
        owner: whose options they are.
        known: gives their names; asked only where there are options.

    Raises:
        InputError: for a text of another form, or an unknown option.
    """
    options = {}
    for entry in filter(None, str(text).split(",")):
        option, equals, value = (part.strip() for part in entry.partition("="))
        if not (option and equals and value):
            raise InputError(f'{name} must be like "{example}". Received: {name}={text!r}.')
        check_name(f"option of {owner}", option, known())
        if ":" in value:
            options[option] = _parse_schedule(name, option, value)
            continue
        try:
            options[option] = json.loads(value.lower() if value in ("True", "False") else value)
        except json.JSONDecodeError:
            options[option] = value
    return options


def _parse_schedule(name: str, option: str, text: str) -> keras.optimizers.schedules.PolynomialDecay:
    """What START:END:STEPS stands for."""
    try:
        first, last, count = text.split(":")
        start, end, steps = float(first), float(last), int(count)
    except ValueError:
        start, end, steps = math.nan, math.nan, 0
    if not (math.isfinite(start) and math.isfinite(end)) or steps < 1:
        raise InputError(
            f"{name}: a schedule is START:END:STEPS, two numbers and a count of at least 1, such as 5:1:20000. "
            f"Received: {option}={text}."
        )
    return keras.optimizers.schedules.PolynomialDecay(start, steps, end)


def nats(value: float) -> str:
    """A figure in nats, for a person."""
    return f"{value:.2f} nats"
