"""A client of the model server, with NumPy and the standard library: both protocols, and their errors.

tfdiscrete serve digits=saved_models/digits --port 8080
python examples/client.py http://localhost:8080 digits
"""

import argparse
import json
import urllib.error
import urllib.request

import numpy as np

JSON_LENGTH = "Inference-Header-Content-Length"


def send(address: str, body: bytes, **headers: str):
    """The response to a request; a refusal is raised with the server's reason."""
    headers.setdefault("Content-Type", "application/json")
    request = urllib.request.Request(address, body, headers, method="POST")
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        raise ValueError(f"{error.code}: {json.load(error)['error']}") from error


def predict(address: str, signature: str, **inputs) -> dict | list:
    """TF Serving's protocol: JSON columns in, JSON columns out; a single output comes without its name."""
    body = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
    with send(f"{address}:predict", body) as response:
        return json.load(response)["outputs"]


def infer(address: str, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The Open Inference Protocol with binary tensors, which are smaller and faster than numbers in JSON."""
    datatypes = {"float32": "FP32", "int32": "INT32", "bool": "BOOL"}
    tensors = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": datatypes[array.dtype.name],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in inputs.items()
    ]
    parameters = {"signature_name": signature, "binary_data_output": True}
    head = json.dumps({"parameters": parameters, "inputs": tensors}).encode()
    body = head + b"".join(array.tobytes() for array in inputs.values())
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))}
    with send(f"{address}/infer", body, **headers) as response:
        content, start = response.read(), int(response.headers[JSON_LENGTH])
    names = {datatype: name for name, datatype in datatypes.items()}
    outputs = {}
    for tensor in json.loads(content[:start])["outputs"]:
        end = start + tensor["parameters"]["binary_data_size"]
        outputs[tensor["name"]] = np.frombuffer(content[start:end], names[tensor["datatype"]]).reshape(tensor["shape"])
        start = end
    return outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", help="such as http://localhost:8080")
    parser.add_argument("model", help="a served DiscreteVAE")
    options = parser.parse_args()
    v1, v2 = (f"{options.server}/{version}/models/{options.model}" for version in ("v1", "v2"))

    samples = np.float32(predict(v1, "sample", seed=[0, 1], n=3))
    print(f"three samples of shape {samples.shape[1:]}")
    codes = infer(v2, "encode", x=samples)
    print("their codes:", *(" ".join(map(str, index)) for index in codes["index"]), sep="\n  ")
    decoded = infer(v2, "decode", code=codes["code"])["reconstruction"]
    print(f"mean distance of the decoded ones: {np.abs(decoded - samples).mean():.3f}")
    try:
        predict(v1, "sample", seed=[0, 1], n=10**9)
    except ValueError as error:
        print(f"a billion samples: {error}")


if __name__ == "__main__":
    main()
