"""The models of a server, as KServe sees them: SavedModels by name, and by name and version, exchanged while it runs.

    NAME              the newest version
    NAME/versions/N   version N, where it is kept

A request holds the version that it began with. A version that is no longer kept is released after its last request.

KServe authors, "Model serving runtimes", https://kserve.github.io/website.
"""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Mapping
from pathlib import Path

import kserve
import numpy as np
from kserve.model_repository import ModelRepository

from tfdiscrete.errors import InputError
from tfdiscrete.serving.batching import Caller
from tfdiscrete.serving.settings import Settings
from tfdiscrete.serving.versions import Version, find_versions, load_version

_log = logging.getLogger("tfdiscrete.serving")


class ServedModel(kserve.Model):
    """One version of a model; KServe times its three steps for `/metrics`.

    The body of a request has `parse(version)`, which checks it, and `answer(request, outputs, name, number)`.
    """

    def __init__(self, name: str, version: Version, settings: Settings):
        super().__init__(name)
        self.version = version
        self._max_rows = settings.max_rows
        self._callers = {
            key: Caller(
                signature,
                model_name=name,
                max_batch_size=settings.max_batch_size,
                batch_wait=settings.batch_wait,
            )
            for key, signature in version.signatures.items()
        }
        self.ready = True

    async def preprocess(self, payload, headers=None):
        request = payload.parse(self.version.signatures)
        num_rows = request.signature.rows(request.arrays)
        if num_rows > self._max_rows:
            raise InputError(f"a request may have, or ask for, at most {self._max_rows} rows. Received: {num_rows}.")
        return payload, request

    async def predict(self, payload, headers=None):
        body, request = payload
        return body, request, await self._callers[request.signature.name](request.arrays)

    async def postprocess(self, result, headers=None):
        body, request, outputs = result
        return body.answer(request, outputs, self.name, self.version.number)


class VersionedModels(ModelRepository):
    """The newest versions of the models in some folders.

    Args:
        folders: by name, as `find_versions` takes them; nothing else is ever loaded.
        settings: how many versions are kept, and how they are served.

    Raises:
        InputError: if a folder holds no SavedModel, or a broken one.
    """

    def __init__(self, folders: Mapping[str, Path | str], settings: Settings):
        super().__init__()
        self._folders = dict(folders)
        self._settings = settings
        self._broken: dict[Path, float] = {}
        for name in self._folders:
            for number, folder in self._wanted(name).items():
                try:
                    self.update(self._load(name, number, folder), _key(name, number))
                except Exception as error:
                    raise InputError(f"{folder} cannot be loaded: {error!s:.200}") from error
            self._point_to_newest(name)

    @property
    def names(self) -> list[str]:
        """Of the models, without versions."""
        return list(self._folders)

    def versions(self, name: str) -> list[ServedModel]:
        """Those loaded of a model, oldest first."""
        found = [model for key, model in self.models.items() if key.startswith(f"{name}/versions/")]
        return sorted(found, key=lambda model: model.version.number)

    async def watch(self) -> None:
        """Looks for new and removed versions for ever; requests go on meanwhile."""
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            for name in self._folders:
                with contextlib.suppress(InputError, OSError):  # an emptied folder: what is loaded stays
                    await self.refresh(name)

    async def refresh(self, name: str) -> None:
        """Loads the versions that are new, then lets those go that are no longer wanted."""
        wanted = await asyncio.to_thread(self._wanted, name)
        for number, folder in wanted.items():
            if _key(name, number) not in self.models and not self._known_as_broken(folder):
                await self._try_to_load(name, number, folder)
        loaded = [model.version.number for model in self.versions(name)]
        kept = sorted(set(loaded) & set(wanted)) or loaded
        self._point_to_newest(name, kept[-1])
        for number in set(loaded) - set(kept):
            del self.models[_key(name, number)]
        if set(loaded) - set(kept):
            # SavedModels are full of reference cycles: their memory would stay until Python happens to look.
            await asyncio.to_thread(gc.collect)

    def _wanted(self, name):
        newest_last = list(find_versions(self._folders[name]).items())
        return dict(newest_last[-self._settings.versions :])

    def _load(self, name, number, folder):
        model = ServedModel(name, load_version(number, folder), self._settings)
        _warm_up(model.version)
        return model

    async def _try_to_load(self, name, number, folder):
        try:
            self.update(await asyncio.to_thread(self._load, name, number, folder), _key(name, number))
            print(f"{name}: version {number} is served", flush=True)
        except Exception as error:
            self._broken[folder] = _changed(folder)
            _log.warning("%s: version %d cannot be loaded and is left out: %s", name, number, f"{error!s:.200}")

    def _known_as_broken(self, folder):
        return self._broken.get(folder) == _changed(folder)

    def _point_to_newest(self, name, number=None):
        newest = self.versions(name)[-1] if number is None else self.models[_key(name, number)]
        self.update(newest, name)


def _key(name, number):
    return f"{name}/versions/{number}"


def _changed(folder):
    with contextlib.suppress(OSError):
        return (folder / "saved_model.pb").stat().st_mtime
    return 0.0


def _warm_up(version):
    """Calls each signature once with zeros, so that the first request does not pay for what TensorFlow does once."""
    for signature in version.signatures.values():
        with contextlib.suppress(InputError):
            signature({name: example(spec) for name, spec in signature.inputs.items()})


def example(spec) -> np.ndarray:
    """The smallest array of a specification: zeros, and 1 for a number."""
    shape = [size or 1 for size in spec.shape.as_list()] if spec.shape.rank else []
    return np.full(shape, 0 if shape else 1, spec.dtype.as_numpy_dtype)
