"""Strategies by name: what they are made of, and what is said where they cannot be made."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.training import strategies

CLUSTER = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}


def test_none_is_one_device():
    assert strategies.get("none") is tf.distribute.get_strategy()
    assert strategies.is_chief(strategies.get("none"))


def test_mirrored_has_a_replica_on_each_device():
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    strategy = strategies.get("mirrored")
    assert strategy.num_replicas_in_sync == len(devices)
    assert strategies.get("mirrored", replicas=1).num_replicas_in_sync == 1
    assert strategies.is_chief(strategy)
    assert strategies.get(strategy) is strategy
    assert strategies.of_all_workers(strategy, 7) == [7] * len(devices)


def test_more_replicas_than_devices_are_refused_rather_than_waited_for():
    with pytest.raises(InputError, match=r"there are . .* for as many replicas at most. Received: replicas=9"):
        strategies.get("mirrored", replicas=9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("miror",), "unknown strategy 'miror'. Did you mean 'mirrored'. Known: mirrored, multi_worker, none"),
        (("none", 2), "does not take these options. Received: {'replicas': 2}"),
    ],
)
def test_unknown_names_and_options_are_refused(arguments, message):
    name, *replicas = arguments
    with pytest.raises(InputError, match=message.replace("?", ".")):
        strategies.get(name, **({"replicas": replicas[0]} if replicas else {}))


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        json.dumps({"cluster": CLUSTER}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": -1}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "boss", "index": 0}}),
    ],
)
def test_several_workers_need_a_cluster_that_has_them(text, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match='TF_CONFIG.*"cluster": {"worker": '):
        strategies.get("multi_worker")


def test_several_workers_cannot_begin_once_tensorflow_has(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 1}}))
    tf.zeros([]).numpy()
    with pytest.raises(InputError, match=r"before TensorFlow computes anything: call strategies.get\('multi_worker'\)"):
        strategies.get("multi_worker")


@pytest.mark.parametrize(
    ("kind", "index", "cluster", "chief"),
    [
        ("worker", 0, CLUSTER, True),
        ("worker", 1, CLUSTER, False),
        ("worker", 0, {**CLUSTER, "chief": ["127.0.0.1:3"]}, False),
        ("chief", 0, {**CLUSTER, "chief": ["127.0.0.1:3"]}, True),
    ],
)
def test_the_first_worker_is_the_chief_where_none_is_named(kind, index, cluster, chief):
    class Strategy:
        cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster), task_type=kind, task_id=index
        )

    assert strategies.is_chief(Strategy()) == chief


@pytest.mark.slow
def test_cpu_devices_are_made_where_tensorflow_has_not_begun():
    code = (
        "from tfdiscrete.training import strategies; s = strategies.get('mirrored', replicas=3);"
        "print(s.num_replicas_in_sync, strategies.of_all_workers(s, 1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[-2] == "3 [1, 1, 1]", done.stderr[-2000:]


@pytest.mark.slow
def test_the_first_example_of_the_page_on_scale_runs():
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
