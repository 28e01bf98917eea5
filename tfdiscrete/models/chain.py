"""The parts of a model with several stochastic layers: as many of each kind as there are layers, and fit for them."""

from collections.abc import Callable, Sequence

import keras
import tensorflow_probability as tfp

from tfdiscrete import estimators, families, objectives
from tfdiscrete.distributions import Family
from tfdiscrete.errors import InputError
from tfdiscrete.families import DiscreteLatents, Gaussian, Latents
from tfdiscrete.models.base import output_shape

tfd = tfp.distributions


def fitted_shape(name: str, network: keras.Model, input_shape) -> tuple[int | None, ...]:
    """The shape of a network's output; raises `InputError` for one that was made for other inputs."""
    made_for = tuple(network.input_shape) if getattr(network, "inputs", None) else input_shape
    if made_for != tuple(input_shape):
        raise InputError(
            f"{name} must read inputs of shape {tuple(input_shape)[1:]}. Received: one for {made_for[1:]}."
        )
    return output_shape(network, input_shape)


def checked_count(encoders, decoders) -> int:
    """The number of layers; raises `InputError` for what is not as many encoders as decoders."""
    for name, networks in (("encoders", encoders), ("decoders", decoders)):
        if not isinstance(networks, list | tuple) or not networks:
            raise InputError(f"{name} must be a list of Keras models, one for each layer. Received: {networks!r}.")
    if len(encoders) != len(decoders):
        raise InputError(
            "each stochastic layer needs an encoder and a decoder. "
            f"Received: {len(encoders)} encoders and {len(decoders)} decoders."
        )
    return len(encoders)


def one_each(name: str, given, count: int, get: Callable) -> list:
    """The parts of all layers: those given, or one and others of its config.

    Args:
        name: of the argument.
        given: one for all, or a list.
        count: of the layers.
        get: what makes a part of what is given.

    Raises:
        InputError: for a list of another length, or with one object twice.
    """
    if not isinstance(given, list | tuple):
        one = get(given)
        return [one, *(type(one).from_config(one.get_config()) for _ in range(count - 1))]
    parts = [get(each) for each in given]
    if len(parts) != count or len({id(part) for part in parts}) != count:
        raise InputError(
            f"{name} must be one for all layers, or a list of {count} different ones. Received: {list(given)!r}."
        )
    return parts


def chain_families(given, count: int) -> list[Latents]:
    """The family of each layer, of variables with categories, or at the top of others Gaussian."""
    made = one_each("families", given, count, families.get)
    for number, family in enumerate(made, 1):
        allowed = (DiscreteLatents, Gaussian) if 1 < number == count else DiscreteLatents
        if not isinstance(family, allowed):
            raise InputError(
                "the layers must be of variables with categories, 'categorical', 'bernoulli' or 'truncated_counts', "
                "and only the top one above others may be 'gaussian': log p(z_l|z_{l+1}) is the probability of a hard "
                f"code. Received: layer {number} of {count} of {type(family).__name__} variables, whose samples have a "
                "density; use DiscreteVAE."
            )
    return made


def chain_estimators(given, made: Sequence[Latents]) -> list[estimators.Estimator]:
    """The estimator of each layer, one for its family; by default that of the family."""
    chosen = [family.estimator for family in made] if given is None else given
    parts = one_each("estimator", chosen, len(made), estimators.get)
    for number, (family, estimator) in enumerate(zip(made, parts, strict=True), 1):
        takes = Family if isinstance(family, DiscreteLatents) else tfd.Distribution
        if estimator.takes is not takes:
            known = ", ".join(repr(name) for name, cls in estimators.REGISTRY.items() if cls.takes is takes)
            raise InputError(
                f"layer {number} is of {type(family).__name__} variables, whose estimators are {known}. "
                f"Received: {type(estimator).__name__}; a list has one for each layer."
            )
    return parts


def whole_rate_objective(given) -> objectives.ELBO:
    """`objectives.get`, of those that read nothing of the rate but its sum, and weigh that."""
    objective = objectives.get(given)
    if (
        not isinstance(objective, objectives.ELBO)
        or objective.sticking_the_landing
        or objective.prior_temperature is not None
    ):
        settings = ", ".join(f"{name}={value!r}" for name, value in objective.get_config().items())
        raise InputError(
            "the objective must be 'elbo' or BetaELBO(beta), a weight on the rate of all layers together: below the "
            "top a layer's rate has no closed form, its samples are hard ones without a density, and they are not "
            f"weighed against each other. Received: {type(objective).__name__}({settings})."
        )
    return objective
