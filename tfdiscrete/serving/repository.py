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
import tensorflow as tf
from kserve.model_repository import ModelRepository

from tfdiscrete.errors import InputError
from tfdiscrete.serving.admission import Admission
from tfdiscrete.serving.batching import Caller
from tfdiscrete.serving.examples import examples
from tfdiscrete.serving.settings import Settings
from tfdiscrete.serving.versions import Version, find_versions, load_version

_log = logging.getLogger("tfdiscrete.serving")
_PARSED_AT_ONCE = 2**18
"""Bytes of a body."""

Contents = frozenset[tuple[str, int, int]]
"""Of a folder: each file's path, time and size."""


class ServedModel(kserve.Model):
    """One version of a model; KServe times its three steps for `/metrics`.

    The body of a request has its bytes as `content`, `parse(signatures)`, which checks them, and
    `answer(request, outputs, name, number)`.
    """

    def __init__(self, name: str, version: Version, settings: Settings, admission: Admission):
        super().__init__(name)
        self.version = version
        self._admission = admission
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
        if len(payload.content) > _PARSED_AT_ONCE:
            # Others are answered meanwhile.
            request = await asyncio.to_thread(_parse_uncollected, payload, self.version.signatures)
        else:
            request = payload.parse(self.version.signatures)
        num_rows = request.signature.rows(request.arrays)
        if num_rows > self._max_rows:
            raise InputError(f"a request may have, or ask for, at most {self._max_rows} rows. Received: {num_rows}.")
        return payload, request

    async def predict(self, payload, headers=None):
        body, request = payload
        async with self._admission.rows(request.signature.rows(request.arrays)):
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
        self._admission = Admission(settings.max_rows_at_once, settings.request_timeout)
        # What lay in each version's folder when it was last loaded, or could not be.
        self._tried: dict[str, Contents] = {}
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
                try:
                    await self.refresh(name)
                except (InputError, OSError):
                    pass  # an emptied folder: what is loaded stays
                except Exception:
                    _log.exception("%s: its folder cannot be followed", name)

    async def refresh(self, name: str) -> None:
        """Loads the versions that are new or have changed, then lets those go that are no longer wanted."""
        changed = await asyncio.to_thread(self._changed, name)
        for number, folder in changed.items():
            await self._try_to_load(name, number, folder)
        # Again, without what has just turned out to be broken.
        wanted = await asyncio.to_thread(self._wanted, name)
        loaded = [model.version.number for model in self.versions(name)]
        kept = sorted(set(loaded) & set(wanted)) or loaded
        self._point_to_newest(name, kept[-1])
        gone = set(loaded) - set(kept)
        for number in gone:
            del self.models[_key(name, number)], self._tried[_key(name, number)]
        if gone or changed:
            # SavedModels are full of reference cycles: their memory would stay until Python happens to look.
            await asyncio.to_thread(gc.collect)

    def _wanted(self, name):
        """The newest versions, but for those that could not be loaded as they lie there."""
        found = find_versions(self._folders[name]).items()
        newest_last = [(number, folder) for number, folder in found if not self._is_broken(name, number, folder)]
        return dict(newest_last[-self._settings.versions :])

    def _is_broken(self, name, number, folder):
        key = _key(name, number)
        return key not in self.models and key in self._tried and self._tried[key] == _contents(folder)

    def _changed(self, name):
        wanted = self._wanted(name).items()
        return {number: folder for number, folder in wanted if self._tried.get(_key(name, number)) != _contents(folder)}

    def _load(self, name, number, folder):
        self._tried[_key(name, number)] = _contents(folder)
        version = load_version(number, folder)
        _warm_up(name, version)
        return ServedModel(name, version, self._settings, self._admission)

    async def _try_to_load(self, name, number, folder):
        try:
            self.update(await asyncio.to_thread(self._load, name, number, folder), _key(name, number))
            print(f"{name}: version {number} is served", flush=True)
        except Exception as error:
            _log.warning("%s: version %d cannot be loaded and is left out: %s", name, number, f"{error!s:.200}")

    def _point_to_newest(self, name, number=None):
        newest = self.versions(name)[-1] if number is None else self.models[_key(name, number)]
        self.update(newest, name)


def _parse_uncollected(payload, signatures):
    """Parses a body that may be millions of lists, which the garbage collector would walk over time and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return payload.parse(signatures)
    except InputError as error:
        # The frames of its traceback would keep the lists alive.
        raise error.with_traceback(None) from None
    finally:
        if was_enabled:
            gc.enable()


def _key(name, number):
    return f"{name}/versions/{number}"


def _contents(folder) -> Contents:
    """The files of a version with their times and sizes; a copy may bring them one after the other."""
    with contextlib.suppress(OSError):  # one has just gone
        files = [(file, file.stat()) for file in folder.rglob("*")]
        return frozenset((str(file), stat.st_mtime_ns, stat.st_size) for file, stat in files)
    return frozenset()


def _warm_up(name, version):
    """Calls each signature once with zeros, so that the first request does not pay for what TensorFlow does once."""
    for key, signature in version.signatures.items():
        try:
            signature(examples(signature.inputs))
        except InputError:
            pass  # zeros are no input of this model
        except tf.errors.OpError as error:
            _log.warning("%s: version %d fails in %s of zeros: %s", name, version.number, key, f"{error!s:.200}")
