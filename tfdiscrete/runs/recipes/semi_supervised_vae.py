"""A run of a `SemiSupervisedVAE`."""

from dataclasses import dataclass

import numpy as np

from tfdiscrete import estimators
from tfdiscrete.errors import InputError, check_count
from tfdiscrete.models import LABEL_NETWORKS, SemiSupervisedVAE, make_label_networks
from tfdiscrete.objectives import likelihoods, supervision
from tfdiscrete.ops import seed_of
from tfdiscrete.runs.recipes.base import Recipe, nats, parse_options, setting
from tfdiscrete.training import ATTRIBUTES, PartiallyLabelledBatches, RandomAffine, digit_attributes, hide_labels
from tfdiscrete.training.pictures import label_rows_figure, samples_figure

_CLASSES = 10
_DIGITS = ("digits", "mnist", "binarized_mnist")
_DEFAULTS: dict[str, dict] = {
    # Towards lower cost; a larger epsilon follows the decoder too far while it still confuses labels.
    "direct_arg_max": {"epsilon": 0.1, "sign": -1},
    "gumbel_softmax": {"temperature": 0.5},
}


@dataclass(frozen=True)
class SemiSupervisedVAERecipe(Recipe):
    """A classifier that learns from a few labels, and from the other images as a generative model."""

    model = "semi_supervised_vae"
    summary = "a classifier that learns from a few labels, and from the other images as a generative model"
    pictures = {"rows": "a row for each label, each column in one style", "samples": "images drawn from the prior"}

    epochs: int = setting(60, "passes over the training data")
    batch_size: int = setting(100, "unlabelled examples in a step")
    learning_rate_decay: str = setting("cosine", "cosine: to a hundredth, over all epochs", ("none", "cosine"))
    target: str = setting(
        "classes",
        "what is labelled; attributes are three of digits: even, at least five, inverted",
        ("classes", "attributes"),
    )
    num_labelled: int = setting(50, "examples that keep their label, as many of each class")
    labelled_batch_size: int = setting(20, "labelled examples in a step")
    augment: str = setting(
        "auto", "shifts, turns and slants labelled images; auto is affine for classes", ("auto", "affine", "none")
    )
    networks: str = setting("dense", "the networks", LABEL_NETWORKS)
    style_size: int = setting(8, "dimensions of the style")
    estimator: str = setting("enumeration", "how unknown labels are summed over or sampled", estimators.REGISTRY)
    estimator_options: str = setting(
        "", "of the estimator; direct_arg_max has epsilon=0.1,sign=-1, gumbel_softmax temperature=0.5", parsed=True
    )
    supervision: str = setting("cross_entropy", "what known labels do", supervision.REGISTRY)
    supervision_weight: float = setting(50.0, "of a known label, in nats per nat of cross-entropy or per error")

    def parsed_estimator_options(self) -> dict:
        """`estimator_options` as the arguments of `estimators.get`."""
        options = parse_options(
            "estimator_options",
            self.estimator_options,
            "epsilon=0.1,sign=-1",
            self.estimator,
            lambda: estimators.options_of(self.estimator),
        )
        return {**_DEFAULTS.get(self.estimator, {}), **options}

    @property
    def signatures(self):
        return "classify, decode, sample"

    def __post_init__(self):
        super().__post_init__()
        if self.target == "attributes" and self.dataset not in _DIGITS:
            raise InputError(
                f"the attributes are those of digits: {', '.join(_DIGITS)}. Received: dataset={self.dataset!r}."
            )

    def load_data(self):
        dataset = super().load_data()
        if dataset.train.y is None:
            raise InputError(f"the dataset {self.dataset!r} has no classes: a classifier cannot learn from it.")
        if max(int(np.max(part.y)) for part in dataset[1:] if part.y is not None) >= _CLASSES:
            raise InputError(
                f"this recipe is one of {_CLASSES} classes. Received: the dataset {self.dataset!r}, which has more; "
                "use digits, mnist or fashion_mnist, or SemiSupervisedVAE itself."
            )
        if self.target == "classes":
            return dataset
        # Another choice for each part, and the same one for all seeds of a run.
        parts = [digit_attributes(part, seed=number) for number, part in enumerate(dataset[1:])]
        return dataset._replace(train=parts[0], valid=parts[1], test=parts[2])

    def make_batches(self, train):
        check_count("batch_size", self.batch_size, maximum=len(train.x))
        # What is outside of an inverted image is not 0.
        moves = self.augment == "affine" or (self.augment == "auto" and self.target == "classes")
        return PartiallyLabelledBatches(
            train.x,
            hide_labels(train.y.astype(np.int64), self.num_labelled, seed=self.seed),
            labelled=self.labelled_batch_size,
            unlabelled=self.batch_size,
            seed=self.seed,
            augment=RandomAffine(shift=train.x.shape[1] / 14, degrees=10.0, zoom=0.1, shear=0.1) if moves else None,
        )

    def make_model(self, data_shape, steps_per_epoch):
        likelihood = likelihoods.get(self.likelihood)
        attributes = {"num_classes": 2, "num_attributes": len(ATTRIBUTES)}
        networks = make_label_networks(
            self.networks,
            data_shape=tuple(data_shape),
            parameter_shape=likelihood.parameter_shape(tuple(data_shape)),
            style_size=self.style_size,
            seed=self.seed,
            **({"num_classes": _CLASSES} if self.target == "classes" else attributes),
        )
        model = SemiSupervisedVAE(
            *networks,
            estimator=estimators.get(self.estimator, **self.parsed_estimator_options()),
            likelihood=likelihood,
            supervision=supervision.REGISTRY[self.supervision](self.supervision_weight),
            seed=self.seed,
            name=self.model,
        )
        self._compile(model, self.epochs * steps_per_epoch)
        return model

    def draw(self, model, held_out):
        return {
            "rows": label_rows_figure(model.rows(10, seed_of(self.seed, "rows"))),
            "samples": samples_figure(model.sample(64, seed_of(self.seed, "sample")).numpy()),
        }

    def evaluate(self, model, held_out):
        y = held_out.y.astype(np.int64)
        figures = model.evaluate(held_out.x, y, batch_size=500, return_dict=True, verbose=0)
        hits = model.predict(held_out.x, batch_size=500, verbose=0).argmax(-1) == y
        return {
            "elbo": -figures["loss"],
            "accuracy": float(hits.mean()),
            "attribute_accuracies": [float(share) for share in hits.mean(0)] if hits.ndim > 1 else None,
            "cross_entropy": figures["cross_entropy"],
            "num_labelled": self.num_labelled,
            "num_examples": len(y),
        }

    def rows(self, metrics):
        def percent(share):
            return f"{100.0 * share:.2f} %"

        of_attributes = zip(ATTRIBUTES, metrics["attribute_accuracies"] or (), strict=False)
        return [
            ("accuracy", percent(metrics["accuracy"]), f"from {metrics['num_labelled']} labelled examples"),
            *((f"  {name}", percent(share), "of one attribute") for name, share in of_attributes),
            ("cross-entropy", nats(metrics["cross_entropy"]), "-log q(y|x) of the true label"),
            ("ELBO", nats(metrics["elbo"]), "without the labels: a bound on log p(x)"),
        ]
