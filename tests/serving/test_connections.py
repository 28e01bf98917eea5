"""Clients as the network has them: slow, rude, gone, and still waiting when the server stops."""

import json
import socket
import threading
import time

import pytest

pytest.importorskip("kserve", reason='needs KServe: pip install "tfdiscrete[serve]"')

from tfdiscrete.serving import connections
from tfdiscrete.serving.signatures import Signature

from .live import live_server

BODY = json.dumps({"signature_name": "log_table", "inputs": [0]}).encode()
HEAD = b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"


@pytest.fixture(scope="module")
def server(base):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(connections, "HEAD_SECONDS", 0.7)
        with live_server({"tiny": base}, request_timeout=1.0, max_request_mb=1) as (_, port):
            yield port


def exchange(port, *parts, pause=0.0, timeout=20) -> bytes:
    """All that the server says to these bytes until it closes, or until an answer with its body is there."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        return read_answer(connection)


def read_answer(connection) -> bytes:
    """One answer with its body, or what there is of it when the server hangs up."""
    received = b""
    while chunk := connection.recv(2**16):
        received += chunk
        head, separator, body = received.partition(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
        if separator and length and len(body) >= int(length[0].split(b":")[1]):
            break
    return received


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def check_that_it_answers(port):
    answer = exchange(port, HEAD % len(BODY) + b"\r\n" + BODY)
    assert status(answer) == 200
    assert answer.endswith(b'{"outputs":[0.0]}')


def test_a_body_that_comes_in_pieces_is_one_request(server):
    answer = exchange(server, HEAD % len(BODY), b"\r\n", BODY[:10], BODY[10:], pause=0.05)
    assert status(answer) == 200


def test_a_body_that_comes_too_slowly_is_answered_with_408(server):
    answer = exchange(server, HEAD % len(BODY) + b"\r\n" + BODY[:10])
    assert status(answer) == 408
    assert b"took over 1.0 s" in answer
    check_that_it_answers(server)


def test_a_head_that_comes_too_slowly_is_hung_up_on(server):
    for start in (b"", b"POST /v1/mod"):
        began = time.monotonic()
        assert exchange(server, start) == b""
        assert 0.3 < time.monotonic() - began < 5
    check_that_it_answers(server)


def test_a_second_request_on_a_connection_has_its_own_time_for_the_head(server):
    request = HEAD % len(BODY) + b"\r\n" + BODY
    with socket.create_connection(("127.0.0.1", server), timeout=20) as connection:
        for _ in range(3):
            connection.sendall(request)
            assert status(read_answer(connection)) == 200
            time.sleep(0.4)
        connection.sendall(b"GET")
        assert connection.recv(2**16) == b""


@pytest.mark.parametrize("line", [b"X: " + b"y" * 1000 + b"\r\n", b"y" * 1000])
def test_a_head_without_end_is_refused(server, line, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 60)  # it is the length that counts
    parts = [HEAD % 1] + [line] * 200
    try:
        answer = exchange(server, *parts)
        assert status(answer) in (400, None)
    except (ConnectionResetError, BrokenPipeError):
        pass  # it hung up while we were still sending
    check_that_it_answers(server)


CHUNKED = b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_in_chunks_may_take_longer_than_a_head_and_may_have_trailers(server):
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:9], BODY[9:20], BODY[20:])]
    answer = exchange(server, CHUNKED, *chunks, b"0\r\nA: b\r\n\r\n", pause=0.2)
    assert status(answer) == 200


def sent_until_hung_up_on(connection, line, seconds=10):
    """The bytes of such lines that the server takes; None if it takes them for ever."""
    deadline, sent = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < deadline and sent < 2**26:
            connection.sendall(line)
            sent += len(line)
            time.sleep(0.1 if len(line) < 100 else 0)
    except OSError:
        return sent
    return None


@pytest.mark.parametrize("line", [b"a:b\r\n", b"a:b\r\n" * 2000], ids=["slow", "long"])
def test_trailers_without_end_are_hung_up_on(server, line):
    with socket.create_connection(("127.0.0.1", server), timeout=20) as connection:
        connection.sendall(CHUNKED + b"0\r\n")
        assert sent_until_hung_up_on(connection, line) is not None
    check_that_it_answers(server)


def test_the_half_of_a_second_request_does_not_cost_the_first_its_answer(server, monkeypatch):
    compute = Signature.__call__

    def slowly(self, arrays):
        time.sleep(1.5)  # twice the time of a head
        return compute(self, arrays)

    monkeypatch.setattr(Signature, "__call__", slowly)
    with socket.create_connection(("127.0.0.1", server), timeout=20) as connection:
        connection.sendall(HEAD % len(BODY) + b"\r\n" + BODY + b"GET /v1")
        assert status(read_answer(connection)) == 200
        assert connection.recv(2**16) == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
def test_what_is_no_http_is_refused(server, garbage):
    assert status(exchange(server, garbage)) == 400
    check_that_it_answers(server)


def test_a_wish_for_another_protocol_is_answered_in_this_one(server):
    head = b"GET /v1/models/tiny HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    assert status(exchange(server, head)) == 200


def test_a_hundred_megabytes_are_refused_before_they_are_read(server):
    answer = exchange(server, HEAD % 10**8 + b"\r\n", b" " * 10**5)
    assert status(answer) == 413
    check_that_it_answers(server)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_too_much_without_listening_still_reads_why(server, chunked):
    head = HEAD % 5_000_000 + b"\r\n"
    body = b" " * 5_000_000
    if chunked:
        head = head.replace(b"Content-Length: 5000000", b"Transfer-Encoding: chunked")
        body = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    assert status(exchange(server, head + body)) == 413
    check_that_it_answers(server)


def test_a_client_that_goes_in_the_middle_leaves_nothing_behind(server, caplog):
    for sent in (HEAD % len(BODY), HEAD % len(BODY) + b"\r\n" + BODY[:5], HEAD % len(BODY) + b"\r\n" + BODY):
        with socket.create_connection(("127.0.0.1", server)) as connection:
            connection.sendall(sent)
    time.sleep(0.1)
    check_that_it_answers(server)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_open_requests_are_answered_when_the_server_stops_and_new_ones_refused(base, monkeypatch):
    began, go_on, compute = threading.Event(), threading.Event(), Signature.__call__

    def slowly(self, arrays):
        began.set()
        assert go_on.wait(20)
        return compute(self, arrays)

    answers = []
    with live_server({"tiny": base}) as (uvicorn_server, port):
        monkeypatch.setattr(Signature, "__call__", slowly)
        request = HEAD % len(BODY) + b"\r\n" + BODY
        clients = [threading.Thread(target=lambda: answers.append(exchange(port, request))) for _ in range(3)]
        for client in clients:
            client.start()
        assert began.wait(20)
        time.sleep(0.1)  # the other two are read, and wait for the first
        uvicorn_server.should_exit = True
        time.sleep(0.3)
        go_on.set()
        for client in clients:
            client.join(20)
    assert [status(answer) for answer in answers] == [200] * 3
    with pytest.raises(OSError, match=r"refused|timed out"):
        exchange(port, request, timeout=0.5)
