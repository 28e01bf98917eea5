"""Load on the model server: its throughput beside that of the same server with the model replaced by a constant.

    apt-get install wrk hey && python benchmarks/serving.py --out results/serving

On loopback only: `wrk` sends as much as is answered, `hey` 70 % of that. The answers of the constant server have the
same shapes, so that the ratio of the two is what the server adds to the model; in-process is the bare signature in a
Python loop. The requests are those of `encode`, or of the signature given.

    v1      JSON rows, TF Serving's
    v2      binary tensors in both directions, of the Open Inference Protocol
    memory  of the server's process over 100,000 requests of one row (v1)
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MODEL = Path(__file__).parents[1] / "saved_models" / "digits"
SHARE = 0.7
# Of the steady load: hey's connections send in step, and more of them would measure the queue that they make.
STEADY_CONNECTIONS = 4


def serve(model: str, port: int, constant: bool) -> None:
    """The server's process; with `constant` each signature answers what it said first for that many rows."""
    from tfdiscrete import serving
    from tfdiscrete.serving.signatures import Signature

    if constant:
        compute, known = Signature.__call__, {}

        def answer(self, arrays):
            key = (self.name, self.rows(arrays))
            if key not in known:
                known[key] = compute(self, arrays)
            return known[key]

        Signature.__call__ = answer
    serving.serve({"model": model}, port=port)


@contextlib.contextmanager
def running(model: Path, constant: bool):
    """Yields the address and the process of a server that is ready."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, __file__, "--model", str(model), "--serve-on", str(port)]
    with subprocess.Popen(command + ["--constant"] * constant, stdout=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"{url}/v2/health/ready", timeout=1).close()
                    break
                time.sleep(0.1)
            yield url, process
        finally:
            process.terminate()


def requests(model: Path, signature: str, batch: int) -> dict[str, tuple[str, dict[str, str], bytes]]:
    """Path, headers and body of the same random request in both protocols."""
    import numpy as np
    import tensorflow as tf

    from tfdiscrete.serving import find_model

    specs = tf.saved_model.load(str(find_model(model))).signatures[signature].structured_input_signature[1]
    ((name, spec),) = specs.items()
    x = (np.random.default_rng(0).random([batch, *spec.shape[1:]]) < 0.5).astype(spec.dtype.as_numpy_dtype)
    rows = json.dumps({"signature_name": signature, "instances": x.tolist()}).encode()
    tensor = {"name": name, "shape": list(x.shape), "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
    parameters = {"signature_name": signature, "binary_data_output": True}
    head = json.dumps({"parameters": parameters, "inputs": [tensor]}).encode()
    return {
        "v1": ("/v1/models/model:predict", {"Content-Type": "application/json"}, rows),
        "v2": (
            "/v2/models/model/infer",
            {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))},
            head + x.tobytes(),
        ),
    }


def top_load(url: str, request, connections: int, seconds: float) -> tuple[float, int]:
    """Answers a second, and errors, of as many requests as are answered, by wrk."""
    path, headers, body = request
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        lines = [f"local file = io.open('{folder}/body', 'rb')", "wrk.method = 'POST'", "wrk.body = file:read('*a')"]
        lines += [f"wrk.headers['{name}'] = '{value}'" for name, value in headers.items()]
        (Path(folder) / "post.lua").write_text("\n".join(lines))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", f"{folder}/post.lua", url + path]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", output)))
    failed += sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", output)))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]), failed


def steady_load(url: str, request, connections: int, *, rate: float | None = None, **length) -> dict[str, float]:
    """Seconds at the median and the 99th percentile, and errors, at a given rate, by hey."""
    path, headers, body = request
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        command = ["hey", "-m", "POST", "-D", file.name, "-T", headers["Content-Type"], "-c", str(connections)]
        command += [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
        command += ["-z", f"{length['seconds']:.0f}s"] if "seconds" in length else ["-n", str(length["count"])]
        command += ["-q", f"{rate / connections:.3f}"] if rate else []
        output = subprocess.run([*command, url + path], check=True, capture_output=True, text=True).stdout
    answers = {int(status): int(count) for status, count in re.findall(r"\[(\d+)\]\s+(\d+) responses", output)}
    percentiles = {key: float(value) for key, value in re.findall(r"(\d+)% in ([\d.]+) secs", output)}
    errors = sum(count for status, count in answers.items() if status != 200)
    errors += sum(map(int, re.findall(r"^\s*\[(\d+)\]\s+(?:Post|Get)", output, re.MULTILINE)))
    return {"median": percentiles["50"], "p99": percentiles["99"], "answers": answers.get(200, 0), "errors": errors}


def in_process(model: Path, signature: str, batch: int, seconds: float) -> float:
    """Calls a second of the bare signature."""
    import numpy as np
    import tensorflow as tf

    from tfdiscrete.serving import find_model
    from tfdiscrete.serving.signatures import signatures_of

    saved_model = tf.saved_model.load(str(find_model(model)))
    call = signatures_of(saved_model)[signature]
    arrays = {name: np.zeros([batch, *spec.shape[1:]], spec.dtype.as_numpy_dtype) for name, spec in call.inputs.items()}
    for _ in range(50):
        call(arrays)
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call(arrays)
        calls += 1
    return calls / (time.perf_counter() - start)


def resident_mb(process: subprocess.Popen) -> float:
    """The memory of a process."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of versions (default: saved_models/digits)")
    parser.add_argument("--signature", default="encode", help="one with a single input, a batch (default encode)")
    parser.add_argument("--connections", type=int, default=32, help="open at once (default 32)")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="of both servers in turn; medians are shown (default 3)")
    parser.add_argument("--memory-requests", type=int, default=100_000, help="0 leaves memory out (default 100000)")
    parser.add_argument("--out", type=Path, help="folder for serving.json and serving.md")
    parser.add_argument("--serve-on", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--constant", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_on:
        return serve(str(options.model), options.serve_on, options.constant)
    missing = [tool for tool in ("wrk", "hey") if shutil.which(tool) is None]
    if missing:
        parser.error(f"needs {' and '.join(missing)}: apt-get install {' '.join(missing)}")
    report(measure(options), options.out)
    return None


def measure(options) -> dict:
    """All figures, by protocol and batch."""
    rows, asked = [], {size: requests(options.model, options.signature, size) for size in (1, 64)}
    with running(options.model, False) as (url, process), running(options.model, True) as (constant_url, _):
        for batch, protocol in [(size, name) for size in asked for name in asked[size]]:
            request = asked[batch][protocol]
            rates: dict[str, list[float]] = {url: [], constant_url: []}
            errors = 0
            for one in rates:
                top_load(one, request, options.connections, 1)
            for _ in range(options.rounds):
                for one, figures in rates.items():
                    figure, failed = top_load(one, request, options.connections, options.seconds)
                    figures.append(figure)
                    errors += failed
            rate, constant = (sorted(figures)[len(figures) // 2] for figures in rates.values())
            steady = steady_load(url, request, STEADY_CONNECTIONS, rate=SHARE * rate, seconds=options.seconds)
            rows.append(
                {
                    "protocol": protocol,
                    "batch": batch,
                    "in_process": in_process(options.model, options.signature, batch, min(options.seconds, 3)),
                    "server": rate,
                    "constant": constant,
                    "ratio": rate / constant,
                    "median_ms": 1e3 * steady["median"],
                    "p99_ms": 1e3 * steady["p99"],
                    "errors": errors + steady["errors"],
                }
            )
        memory = {}
        if options.memory_requests:
            count = options.memory_requests // options.connections * options.connections
            before = resident_mb(process)
            done = steady_load(url, asked[1]["v1"], options.connections, count=count)
            memory = {"before_mb": before, "after_mb": resident_mb(process), **done}
    return {"rows": rows, "memory": memory}


def report(figures: dict, out: Path | None) -> None:
    lines = [
        "| protocol | batch | in-process 1/s | server 1/s | constant 1/s | ratio "
        "| median ms | p99 ms | p99/median | errors |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        lines.append(
            f"| {row['protocol']} | {row['batch']} | {row['in_process']:.0f} | {row['server']:.0f} "
            f"| {row['constant']:.0f} | {row['ratio']:.2f} | {row['median_ms']:.2f} | {row['p99_ms']:.2f} "
            f"| {row['p99_ms'] / row['median_ms']:.1f} | {row['errors']} |"
        )
    if memory := figures["memory"]:
        lines += [
            "",
            f"Memory over {memory['answers']:,} answers: {memory['before_mb']:.0f} -> {memory['after_mb']:.0f} MiB; "
            f"{memory['errors']} errors.",
        ]
    print("\n".join(lines))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "serving.json").write_text(json.dumps(figures, indent=1))
        (out / "serving.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
