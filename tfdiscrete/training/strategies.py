"""`tf.distribute` strategies by name, made so that they work or say at once why they cannot.

    none            one device
    mirrored        all GPUs of this machine; where there is none, its logical CPU devices
    multi_worker    one process for each worker of a cluster, which TF_CONFIG describes

TF_CONFIG, an environment variable that every worker's process has, with an index of its own:

    {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}
"""

import inspect
import json
import os
from collections.abc import Callable

import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, unknown_name

_EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


def none() -> tf.distribute.Strategy:
    """No strategy: the first device."""
    return tf.distribute.get_strategy()


def mirrored(replicas: int | None = None) -> tf.distribute.Strategy:
    """One replica for each GPU, or for each logical CPU device where there is no GPU.

    Args:
        replicas: how many; by default as many as there are. CPU devices are made where TensorFlow has not yet begun.

    Raises:
        InputError: for more replicas than there are devices.
    """
    gpus = tf.config.list_logical_devices("GPU") if tf.config.list_physical_devices("GPU") else []
    if replicas is not None:
        check_count("replicas", replicas)
        if not gpus:
            _make_cpus(replicas)
    # TensorFlow would wait for ever for a device that is not there.
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    count = len(devices) if replicas is None else replicas
    if count > len(devices):
        raise InputError(
            f"there are {len(devices)} {'GPUs' if gpus else 'CPU devices'} for as many replicas at most. "
            f"Received: replicas={replicas}. More CPU devices are made before TensorFlow begins to compute: "
            "call strategies.get('mirrored', replicas=...) first of all."
        )
    # Collective reductions of several strategies in one process mistake one another's shapes, and NCCL wants GPUs that
    # are not parts of one.
    one_each = len(gpus) == len(tf.config.list_physical_devices("GPU")) > 0
    reduction = None if one_each else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices[:count], cross_device_ops=reduction)


def multi_worker() -> tf.distribute.Strategy:
    """One worker of the cluster that TF_CONFIG describes; it must be made before TensorFlow computes anything.

    Raises:
        InputError: where TF_CONFIG is missing or describes no cluster, or TensorFlow has begun.
    """
    read_cluster()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise InputError(
            "the strategy of several workers must be made before TensorFlow computes anything: call "
            f"strategies.get('multi_worker') first of all. TensorFlow says: {str(error).splitlines()[0]}"
        ) from error


REGISTRY: dict[str, Callable[..., tf.distribute.Strategy]] = {
    "none": none,
    "mirrored": mirrored,
    "multi_worker": multi_worker,
}


def get(identifier: str | tf.distribute.Strategy, **options) -> tf.distribute.Strategy:
    """A strategy from a name in `REGISTRY` with options, or the strategy itself.

    Example:

        strategy = strategies.get("mirrored", replicas=2)
        with strategy.scope():
            vae = DiscreteVAE(encoder, decoder)
            vae.compile("adam")
        vae.fit(images, batch_size=200)         # 100 on each replica

    Raises:
        InputError: for an unknown name, or what the strategy refuses.
    """
    if isinstance(identifier, tf.distribute.Strategy) and not options:
        return identifier
    if identifier not in REGISTRY:
        raise unknown_name("strategy", identifier, REGISTRY)
    make = REGISTRY[identifier]
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        raise InputError(f"the strategy {identifier!r} does not take these options. Received: {options}.") from error
    return make(**options)


def read_cluster() -> dict:
    """TF_CONFIG, checked: a dictionary with "cluster" and "task".

    Raises:
        InputError: where it is missing or describes no cluster.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise InputError(
            "several workers need TF_CONFIG, which names them all and this one. Received: none. On one machine "
            f"workers=2 makes it; on a cluster set it in each worker's environment, such as TF_CONFIG='{_EXAMPLE}'."
        )
    try:
        config = json.loads(text)
        cluster, kind, index = config["cluster"], config["task"]["type"], int(config["task"]["index"])
        if index < 0 or not cluster[kind][index]:
            raise IndexError(index)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise InputError(
            f"TF_CONFIG must name a cluster and a task in it, like {_EXAMPLE}. Received: {text!r} "
            f"({type(error).__name__}: {error})."
        ) from error
    return config


def has_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is one of several workers, or of a cluster of one."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether this process is the one that writes files: the first of several workers, or the only one.

    Args:
        strategy: by default what TF_CONFIG describes, where it is set.
    """
    resolver = (
        tf.distribute.cluster_resolver.TFConfigClusterResolver() if strategy is None else strategy.cluster_resolver
    )
    if resolver is None or not resolver.task_type:
        return True
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_type == "worker" and resolver.task_id == 0


def of_all_workers(strategy: tf.distribute.Strategy, number: int) -> list[int]:
    """The number that each replica's worker calls this with; none of them returns before all have called."""
    numbers = strategy.experimental_distribute_values_from_function(lambda context: tf.constant([number]))
    return [int(each) for each in strategy.gather(numbers, axis=0)]


def _make_cpus(count: int) -> None:
    device = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(device) or [None]) >= count:
        return
    try:
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:
        return  # too late: what there is will be counted
