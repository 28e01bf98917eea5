import asyncio
import threading

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("kserve", reason='needs KServe: pip install "tfdiscrete[serve]"')

from tfdiscrete.errors import InputError
from tfdiscrete.serving.batching import Caller
from tfdiscrete.serving.signatures import signatures_of


class Recorded:
    """A signature that remembers the rows of its calls, and waits for the first one to be let go."""

    def __init__(self, signature, held=True):
        self.signature = signature
        self.calls = []
        self.gate = threading.Event()
        if not held:
            self.gate.set()

    def __getattr__(self, name):
        return getattr(self.signature, name)

    def __call__(self, arrays):
        self.calls.append(self.signature.rows(arrays))
        assert self.gate.wait(10)
        return self.signature(arrays)


def caller(recorded, **options):
    return Caller(recorded, model_name="test", **{"max_batch_size": 8, "batch_wait": 0.0, **options})


def random_rows(count, seed):
    return np.random.default_rng(seed).normal(size=[count, 4]).astype(np.float32)


async def all_of(call, requests, gate=None):
    tasks = [asyncio.create_task(call(arrays)) for arrays in requests]
    if gate is not None:
        await asyncio.sleep(0.05)
        gate.set()
    async with asyncio.timeout(20):
        return await asyncio.gather(*tasks, return_exceptions=True)


def test_requests_that_wait_are_computed_together_and_each_gets_its_own_rows(tiny):
    recorded = Recorded(signatures_of(tiny)["encode"])
    requests = [{"x": random_rows(count, i)} for i, count in enumerate([1, 2, 3, 1, 2, 2, 1])]
    answers = asyncio.run(all_of(caller(recorded), requests, recorded.gate))
    assert recorded.calls[0] <= 8
    assert sum(recorded.calls) == 12
    assert len(recorded.calls) == 2
    for request, answer in zip(requests, answers, strict=True):
        alone = tiny.signatures["encode"](x=tf.constant(request["x"]))
        np.testing.assert_array_equal(answer["index"], alone["index"])
        np.testing.assert_allclose(answer["probabilities"], alone["probabilities"], rtol=1e-5)


def test_no_batch_is_larger_than_the_limit_and_none_overtakes(tiny):
    recorded = Recorded(signatures_of(tiny)["encode"])
    requests = [{"x": random_rows(count, count)} for count in (5, 5, 3, 6)]
    asyncio.run(all_of(caller(recorded), requests, recorded.gate))
    assert recorded.calls == [5, 8, 6]


def test_a_request_of_a_whole_batch_does_not_wait_for_others(tiny):
    recorded = Recorded(signatures_of(tiny)["encode"], held=False)
    (answer,) = asyncio.run(all_of(caller(recorded), [{"x": random_rows(20, 0)}]))
    assert recorded.calls == [20]
    assert len(answer["index"]) == 20


@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("sample", {"seed": np.array([1, 2], np.int32), "n": np.array(2, np.int32)}),
        ("mean", {"x": random_rows(2, 0)}),
    ],
)
def test_signatures_without_a_batch_everywhere_are_called_alone(tiny, name, arrays):
    recorded = Recorded(signatures_of(tiny)[name], held=False)
    answers = asyncio.run(all_of(caller(recorded), [arrays] * 3))
    assert recorded.calls == [2] * 3
    for answer in answers:
        for key, value in tiny.signatures[name](**{k: tf.constant(v) for k, v in arrays.items()}).items():
            np.testing.assert_array_equal(answer[key], value)


def test_a_batch_size_of_one_computes_each_alone(tiny):
    recorded = Recorded(signatures_of(tiny)["encode"], held=False)
    asyncio.run(all_of(caller(recorded, max_batch_size=1), [{"x": random_rows(1, 0)}] * 4))
    assert recorded.calls == [1] * 4


def test_with_a_wait_requests_that_come_a_little_later_join_the_first_batch(tiny, monkeypatch):
    recorded = Recorded(signatures_of(tiny)["encode"], held=False)
    waited, real_sleep = [], asyncio.sleep

    async def one_after_the_other():
        call, all_came = caller(recorded, batch_wait=0.2), asyncio.Event()

        async def until_all_came(seconds):
            waited.append(seconds)
            await all_came.wait()

        monkeypatch.setattr(asyncio, "sleep", until_all_came)
        tasks = []
        for i in range(3):
            tasks.append(asyncio.create_task(call({"x": random_rows(1, i)})))
            await real_sleep(0)
        all_came.set()
        await asyncio.gather(*tasks)

    asyncio.run(one_after_the_other())
    assert waited == [0.2]
    assert recorded.calls == [3]


class Paired(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, "a"), tf.TensorSpec([None, 1], tf.float32, "b")])
    def add(self, a, b):
        return {"y": a + b}


def test_inputs_of_unequal_numbers_of_rows_are_called_alone(tmp_path):
    """One `b` for all rows of `a` is fine for the model; stacked it would be another request's."""
    model = Paired()
    tf.saved_model.save(model, str(tmp_path), signatures={"add": model.add})
    loaded = tf.saved_model.load(str(tmp_path))
    recorded = Recorded(signatures_of(loaded)["add"])
    sizes = [(1, 1), (2, 2), (3, 1), (1, 3), (2, 2)]
    requests = [{"a": random_rows(a, i)[:, :1], "b": random_rows(b, 9 + i)[:, :1]} for i, (a, b) in enumerate(sizes)]
    answers = asyncio.run(all_of(caller(recorded), requests, recorded.gate))
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], request["a"] + request["b"])
    assert sorted(recorded.calls) == [3, 3, 5]


def test_outputs_without_a_row_for_each_are_asked_for_alone(tiny):
    recorded = Recorded(signatures_of(tiny)["encode"])
    compute = recorded.signature

    class Cut:
        """Of more than two rows it answers the first two."""

        def __getattr__(self, name):
            return getattr(compute, name)

        def __call__(self, arrays):
            return {name: value[:2] for name, value in compute(arrays).items()}

    recorded.signature = Cut()
    requests = [{"x": random_rows(1, i)} for i in range(4)]
    answers = asyncio.run(all_of(caller(recorded), requests, recorded.gate))
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer["probabilities"], compute(request)["probabilities"], rtol=1e-5)


def test_values_that_the_model_refuses_fail_their_own_request_only(tiny):
    recorded = Recorded(signatures_of(tiny)["log_table"])
    requests = [{"index": np.array(index, np.int32)} for index in ([0], [1], [9], [0, 1])]
    answers = asyncio.run(all_of(caller(recorded), requests, recorded.gate))
    assert [type(answer) for answer in answers] == [dict, dict, InputError, dict]
    np.testing.assert_array_equal(answers[3]["log"], [0, -np.inf])


def test_a_failure_of_the_model_reaches_every_request_and_the_next_one_works(tiny):
    recorded = Recorded(signatures_of(tiny)["encode"], held=False)
    request = {"x": random_rows(1, 0)}

    async def fail_then_work():
        call = caller(recorded)
        recorded.gate = None
        failed = await asyncio.gather(call(request), call(request), return_exceptions=True)
        recorded.gate = threading.Event()
        recorded.gate.set()
        return failed, await call(request)

    failed, answer = asyncio.run(fail_then_work())
    assert [type(error) for error in failed] == [AttributeError] * 2
    assert len(answer["index"]) == 1


def test_a_client_that_goes_does_not_hold_the_others_up(tiny):
    recorded = Recorded(signatures_of(tiny)["encode"])

    async def one_gives_up():
        call = caller(recorded)
        tasks = [asyncio.create_task(call({"x": random_rows(1, i)})) for i in range(4)]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        tasks[2].cancel()
        recorded.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(one_gives_up())
    assert [isinstance(answer, dict) for answer in answers] == [False, True, False, True]
