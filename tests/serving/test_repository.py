import asyncio
import gc
import shutil
import weakref

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("kserve", reason='needs KServe: pip install "tfdiscrete[serve]"')

from tfdiscrete.errors import InputError
from tfdiscrete.serving.application import build_application
from tfdiscrete.serving.repository import VersionedModels
from tfdiscrete.serving.settings import Settings
from tfdiscrete.serving.signatures import Signature

from .client import Client


class Constant(tf.Module):
    def __init__(self, value):
        super().__init__()
        self.value = tf.Variable(float(value))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def answer(self, x):
        return {"y": 0 * x + self.value}


def export(folder, version, value=None):
    """A model that answers its version's number, or a value; it appears at once, as a whole."""
    model = Constant(version if value is None else value)
    tf.saved_model.save(model, str(folder / ".partial"), signatures={"serving_default": model.answer})
    (folder / ".partial").rename(folder / str(version))


def answer(client, name="model"):
    response = client.post(f"/v1/models/{name}:predict", json={"inputs": [0.0]})
    return response.json()["outputs"][0] if response.status_code == 200 else response.status_code


@pytest.fixture
def folder(tmp_path):
    export(tmp_path, 1)
    return tmp_path


def serving(folder, **options):
    models = VersionedModels({"model": folder}, Settings(**options))
    return models, Client(build_application(models, Settings(**options)))


def refresh(models):
    asyncio.run(models.refresh("model"))


def test_the_newest_versions_are_kept_and_each_answers_at_its_address(folder, capsys):
    models, client = serving(folder, versions=2)
    with client:
        assert answer(client) == 1
        for version in (2, 3):
            export(folder, version)
            refresh(models)
            assert answer(client) == version
        assert [answer(client, f"model/versions/{version}") for version in (1, 2, 3)] == [404, 2, 3]
        assert [model.version.number for model in models.versions("model")] == [2, 3]
    assert "model: version 3 is served" in capsys.readouterr().out


def test_an_old_version_finishes_its_last_request_and_is_released(folder):
    models, client = serving(folder)
    old = weakref.ref(models.get_model("model").version.saved_model)
    held = models.get_model("model")
    export(folder, 2)
    refresh(models)
    with client:
        assert answer(client) == 2
    # A request that began before goes on with the version that it has.
    call = held._callers["serving_default"]
    np.testing.assert_array_equal(asyncio.run(call({"x": np.zeros(2, np.float32)}))["y"], [1, 1])
    assert old() is not None
    del held, call
    gc.collect()
    assert old() is None


def test_a_version_that_is_taken_away_leaves_the_one_before(folder):
    export(folder, 2)
    models, client = serving(folder)
    with client:
        assert answer(client) == 2
        shutil.rmtree(folder / "2")
        refresh(models)
        assert answer(client) == 1


def test_an_emptied_folder_leaves_what_is_loaded(folder):
    models, client = serving(folder)
    shutil.rmtree(folder / "1")
    with pytest.raises(InputError, match="holds no SavedModel"):
        refresh(models)
    with client:
        assert answer(client) == 1


def test_a_broken_version_is_left_out_named_once_and_tried_again_when_it_changes(folder, caplog):
    models, client = serving(folder)
    (folder / "2").mkdir()
    (folder / "2" / "saved_model.pb").write_bytes(b"broken")
    with client:
        refresh(models)
        refresh(models)
        assert answer(client) == 1
        assert [record.getMessage()[:32] for record in caplog.records] == ["model: version 2 cannot be loade"]
        shutil.rmtree(folder / "2")
        export(folder, 2)
        refresh(models)
        assert answer(client) == 2


def test_a_version_that_is_copied_file_by_file_is_served_once_it_is_whole(folder, tmp_path_factory):
    models, client = serving(folder)
    export(tmp_path_factory.getbasetemp(), 2)
    whole = tmp_path_factory.getbasetemp() / "2"
    (folder / "2").mkdir()
    shutil.copy2(whole / "saved_model.pb", folder / "2")
    with client:
        refresh(models)
        assert answer(client) == 1
        shutil.copytree(whole, folder / "2", dirs_exist_ok=True)
        refresh(models)
        assert answer(client) == 2


def test_a_broken_version_takes_no_good_one_away(folder):
    export(folder, 2)
    models, client = serving(folder, versions=2)
    (folder / "3").mkdir()
    (folder / "3" / "saved_model.pb").write_bytes(b"broken")
    with client:
        for _ in range(2):
            refresh(models)
            assert [answer(client, f"model/versions/{version}") for version in (1, 2)] == [1, 2]
        shutil.rmtree(folder / "3")
        export(folder, 3)
        refresh(models)
        assert [answer(client, f"model/versions/{version}") for version in (1, 2, 3)] == [404, 2, 3]


def test_a_version_that_is_replaced_is_loaded_again_and_kept_where_the_new_one_is_broken(folder):
    models, client = serving(folder)
    with client:
        shutil.rmtree(folder / "1")
        export(folder, 1, value=7)
        refresh(models)
        assert answer(client) == answer(client, "model/versions/1") == 7
        (folder / "1" / "saved_model.pb").write_bytes(b"broken")
        for _ in range(2):
            refresh(models)
            assert answer(client) == 7
        loaded = models.get_model("model")
        refresh(models)
        assert models.get_model("model") is loaded


def test_a_model_that_fails_on_zeros_is_served(folder, monkeypatch, caplog):
    def fail(self, arrays):
        raise tf.errors.InternalError(None, None, "no zeros")

    with monkeypatch.context() as patched:
        patched.setattr(Signature, "__call__", fail)
        _, client = serving(folder)
    assert "model: version 1 fails in serving_default of zeros: no zeros" in caplog.text
    with client:
        assert answer(client) == 1


def test_the_watch_goes_on_after_a_failure_and_says_so(folder, monkeypatch, caplog):
    models, _ = serving(folder, poll_seconds=0.01)
    looks = []

    async def fail(name):
        looks.append(name)
        raise RuntimeError("out of threads")

    async def watch_for_a_while():
        watch = asyncio.create_task(models.watch())
        async with asyncio.timeout(20):
            while len(looks) < 3:
                await asyncio.sleep(0.01)
        watch.cancel()

    monkeypatch.setattr(models, "refresh", fail)
    asyncio.run(watch_for_a_while())
    assert "its folder cannot be followed" in caplog.text
    assert "out of threads" in caplog.text


def test_a_broken_version_at_the_start_is_refused_by_name(folder):
    (folder / "2").mkdir()
    (folder / "2" / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(InputError, match="/2 cannot be loaded"):
        serving(folder)


def test_a_single_version_folder_is_served_as_it_is(folder):
    models, client = serving(folder / "1")
    export(folder, 2)
    refresh(models)
    with client:
        assert answer(client) == 1


def test_a_new_version_appears_among_thousands_of_requests_without_an_error(folder):
    """The watch runs as in the server; requests of eight clients never stop."""
    settings = Settings(poll_seconds=0.05)
    models = VersionedModels({"model": folder}, settings)

    async def ask(httpx_client, seen):
        response = await httpx_client.post("/v1/models/model:predict", json={"inputs": [0.0]})
        seen.append(response.json()["outputs"][0] if response.status_code == 200 else response.text)

    async def client(httpx_client, seen, stop):
        while not stop.is_set():
            await ask(httpx_client, seen)

    async def until(condition):
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.02)

    async def main():
        import httpx

        application = build_application(models, settings)
        seen, stop = [], asyncio.Event()
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with (
            application.router.lifespan_context(application),
            httpx.AsyncClient(transport=transport, base_url="http://server") as httpx_client,
        ):
            clients = [asyncio.create_task(client(httpx_client, seen, stop)) for _ in range(8)]
            await until(lambda: len(seen) > 100)
            await asyncio.to_thread(export, folder, 2)
            await until(lambda: models.get_model("model").version.number == 2)
            answered = len(seen)
            await until(lambda: len(seen) > answered + 100)
            stop.set()
            await asyncio.gather(*clients)
            # An answer of a request from before the exchange may have come late.
            await ask(httpx_client, seen)
        return seen

    seen = asyncio.run(main())
    assert set(seen) == {1.0, 2.0}
    assert seen[0] == 1
    assert seen[-1] == 2
    assert [version.version.number for version in models.versions("model")] == [2]
