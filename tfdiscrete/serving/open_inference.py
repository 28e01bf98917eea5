"""The request and response bodies of the Open Inference Protocol ("v2"), as JSON or with binary tensors after it.

    {"parameters": {"signature_name": ...}, "inputs": [{"name", "shape", "datatype", "data"}, ...]}
        -> {"model_name", "model_version", "outputs": [{"name", "shape", "datatype", "data"}, ...]}

The protocol knows no signatures: the request's parameter `signature_name` chooses one, by default "serving_default".
KServe has a codec of its own; this one refuses every malformed body instead of failing, and makes no Python object of
each number.

KServe authors, "Open Inference Protocol",
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import orjson
import tensorflow as tf
from kserve.utils.numpy_codec import from_np_dtype, to_np_dtype

from tfdiscrete.errors import InputError
from tfdiscrete.serving.arrays import from_array, from_lists
from tfdiscrete.serving.received import brief, names
from tfdiscrete.serving.rest import choose
from tfdiscrete.serving.signatures import Signature

HEADER = "inference-header-content-length"
_MOST_TENSORS = 1000


class InferRequest(NamedTuple):
    """A checked request."""

    signature: Signature
    arrays: dict[str, np.ndarray]
    id: str | None
    outputs: dict[str, bool]
    """The names of those asked for, and whether each is sent as binary data."""

    @classmethod
    def parse(cls, body: bytes, json_length: int, signatures: Mapping[str, Signature]) -> "InferRequest":
        """Checks a body, the first `json_length` bytes of which are JSON; raises `InputError`, or orjson's error."""
        if not 0 < json_length <= len(body):
            raise InputError(f"{HEADER} must be from 1 to {len(body)}, the body's. Received: {json_length}.")
        payload = _object("the body", orjson.loads(body[:json_length]))
        parameters = _object("parameters", payload.get("parameters"))
        signature = choose(signatures, parameters.get("signature_name", "serving_default"))
        inputs = _by_name("inputs", payload.get("inputs", []))
        binary = _Binary(body, json_length)
        arrays = {
            name: _array(signature.inputs[name], tensor, binary) for name, tensor in signature.named(inputs).items()
        }
        if binary.start != len(body):
            raise InputError(
                f"expected {binary.start} bytes, the JSON and all binary_data_size. Received: {len(body)}."
            )
        by_default = parameters.get("binary_data_output") is True
        outputs = {
            name: _object("parameters", tensor.get("parameters")).get("binary_data", by_default) is True
            for name, tensor in _by_name("outputs", payload.get("outputs") or []).items()
        }
        unknown = outputs.keys() - signature.outputs.keys()
        if unknown:
            raise InputError(
                f"signature {signature.name!r} returns {list(signature.outputs)}. Received: {names(unknown)}."
            )
        request_id = payload.get("id")
        if not isinstance(request_id, str | None):
            raise InputError("id must be a text.")
        return cls(signature, arrays, request_id, outputs or dict.fromkeys(signature.outputs, by_default))

    def answer(self, outputs: dict[str, np.ndarray], *, model_name: str, version: int) -> tuple[bytes, int | None]:
        """The body of the response, and the length of its JSON where binary data follows it."""
        tensors, tail = [], []
        for name, binary in self.outputs.items():
            value = outputs[name]
            tensor = {"name": name, "shape": list(value.shape), "datatype": from_np_dtype(value.dtype)}
            if binary:
                tail.append(value.tobytes())
                tensor["parameters"] = {"binary_data_size": len(tail[-1])}
            else:
                tensor["data"] = value.ravel()
            tensors.append(tensor)
        answer = {"model_name": model_name, "model_version": str(version), "outputs": tensors}
        if self.id is not None:
            answer["id"] = self.id
        head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        return b"".join([head, *tail]), len(head) if tail else None


def tensor_metadata(specs: Mapping[str, tf.TensorSpec]) -> list[dict]:
    """Inputs or outputs as the protocol's metadata lists them; -1 is any size."""
    return [
        {
            "name": name,
            "datatype": datatype(spec),
            "shape": [-1 if size is None else size for size in spec.shape.as_list()] if spec.shape.rank else [],
        }
        for name, spec in specs.items()
    ]


def datatype(spec: tf.TensorSpec) -> str:
    """The protocol's name of a type; bfloat16, which its binary form lacks, is sent and received as FP32."""
    return "FP32" if spec.dtype == tf.bfloat16 else from_np_dtype(np.dtype(spec.dtype.as_numpy_dtype))


class _Binary:
    """Takes the tensors' bytes off the body, one after the other."""

    def __init__(self, body, start):
        self.body = body
        self.start = start

    def take(self, name, size, dtype, shape):
        expected = dtype.itemsize * int(np.prod(shape, dtype=object))
        if type(size) is not int or size != expected or self.start + size > len(self.body):
            raise InputError(
                f"{name} of shape {shape!s:.100} has {expected} bytes. Received: binary_data_size={brief(size)} "
                f"and {len(self.body) - self.start} bytes."
            )
        array = np.frombuffer(self.body, dtype, count=size // dtype.itemsize, offset=self.start).reshape(shape)
        if dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
            raise InputError(f"{name} has a byte of 0 or 1 for each boolean. Received: another byte.")
        self.start += size
        return array


def _array(spec, tensor, binary):
    name, shape, received = tensor["name"], tensor.get("shape"), tensor.get("datatype")
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(size) is int and size >= 0 for size in shape):
        raise InputError(f"the shape of {name} must be a list of at most 32 sizes. Received: {brief(shape)}.")
    if received != datatype(spec):
        raise InputError(f"{name} has the datatype {datatype(spec)}. Received: {brief(received)}.")
    if not spec.shape.is_compatible_with(shape):
        expected = [-1 if size is None else size for size in spec.shape.as_list()]
        raise InputError(f"{name} has the shape {expected}. Received: {shape!s:.100}.")
    if "data" in tensor:
        return from_lists(name, tensor["data"], spec, shape=shape)
    size = _object("parameters", tensor.get("parameters")).get("binary_data_size")
    values = binary.take(name, size, np.dtype(to_np_dtype(received)), shape)
    return from_array(name, values, spec)


def _by_name(what, tensors):
    if not isinstance(tensors, list) or len(tensors) > _MOST_TENSORS:
        raise InputError(f"{what} must be a list of at most {_MOST_TENSORS} tensors. Received: {brief(tensors)}.")
    named = {_name(_object(f"each of {what}", tensor)): tensor for tensor in tensors}
    if len(named) < len(tensors):
        raise InputError(f"{what} must have different names. Received: {len(tensors)}, named {names(named)}.")
    return named


def _name(tensor):
    name = tensor.get("name")
    if not isinstance(name, str):
        raise InputError(f"each tensor needs a name. Received: {brief(name)}.")
    return name


def _object(what, value):
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise InputError(f"{what} must be a JSON object. Received: {type(value).__name__}.")
    return value
