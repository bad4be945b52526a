"""TF_CONFIG is read or refused, and peers are waited for in words."""

import json
import re
import socket
import threading
import time

import pytest

from ccssl_tf.runs import tf_config
from ccssl_tf.runs.errors import InputError, Interrupted
from ccssl_tf.runs.tf_config import is_one_machine, read_tf_config, wait_for_peers


def config(ports, index=0, kind="worker", **cluster):
    return json.dumps(
        dict(
            cluster=dict(worker=[f"localhost:{port}" for port in ports], **cluster),
            task=dict(type=kind, index=index),
        )
    )


@pytest.mark.parametrize(
    "value, message",
    [
        (None, "no 'TF_CONFIG'"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"cluster": {"worker": ["a:1"]}}', "no 'task'"),
        (config([1, 2], index=2), "this is worker 2, and the cluster has 2 worker"),
        (config([1, 2], index=-1), "this is worker -1"),
        (config([1, 2], kind="chief"), "this is chief 0"),
        (config([1, 1]), "host:port of its own"),
        (config([1, 70000]), "host:port of its own"),
        (config(["x"]), "cannot be read"),
        (config([1], ps=["a:2"]), "cluster has ps"),
        ('{"cluster": {"worker": [2222]}, "task": {"type": "worker", "index": 0}}', "cannot be"),
        ('{"cluster": {"worker": [":1"]}, "task": {"type": "worker", "index": 0}}', "host:port"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": ["worker"], "index": 0}}', "this is"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1e999}}', "cannot"),
        ('{"cluster": {"worker": 5}, "task": {"type": "worker", "index": 0}}', "cannot be read"),
        ('{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("9" * 5000, "cannot be read"),
        ("caf\udce9", "cannot be read"),
    ],
)
def test_a_bad_tf_config_is_refused_in_one_line(monkeypatch, value, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(InputError, match=re.escape(message)):
        read_tf_config()


@pytest.mark.parametrize(
    "value, is_one",
    [
        *((None, True), ("", True), (" ", True), ("{}", True), ('{"cluster": {}}', True)),
        *((config([1]), True), (config([1, 2]), False)),
    ],
)
def test_a_config_without_others_is_one_machine(monkeypatch, value, is_one):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    assert is_one_machine() == is_one


@pytest.mark.parametrize("value", ["{", "5", "[]", '{"cluster": {"worker": ["a:1"]}}'])
def test_a_config_that_says_nothing_clear_is_refused(monkeypatch, value):
    monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(InputError, match="TF_CONFIG"):
        is_one_machine()


def test_peers_that_never_come_are_named_after_a_deadline():
    own, *others = free_ports(3)
    addresses = [f"localhost:{own}", *(f"localhost:{port}" for port in others)]
    with pytest.raises(Interrupted, match="has waited 0.5 s for ") as caught:
        wait_for_peers(addresses, 0, deadline_seconds=0.5)
    assert ", ".join(addresses[1:]) in str(caught.value)


def test_the_chief_is_the_first_worker(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config([3, 4], index=1, chief=["c:2"]))
    assert read_tf_config() == (["c:2", "localhost:3", "localhost:4"], 2)
    monkeypatch.setenv("TF_CONFIG", config([3, 4], kind="chief", chief=["c:2"]))
    assert read_tf_config()[1] == 0


def free_ports(count):
    servers = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def test_waits_for_peers_and_says_for_whom(capsys, monkeypatch):
    """One comes once it has been waited for and said so; neither has to know the other's pace."""
    ports, said, is_over = free_ports(2), threading.Event(), threading.Event()
    addresses = [f"localhost:{port}" for port in ports]

    def late():
        said.wait()
        wait_for_peers(addresses, 1)
        # Where TensorFlow answers from now on.
        with socket.create_server(("", ports[1])):
            is_over.wait()

    def sleep(seconds):
        if "waits for" in capsys.readouterr().out:
            lines.append("said")
            said.set()
        pause(seconds)

    lines, pause = [], time.sleep
    thread = threading.Thread(target=late, daemon=True)
    thread.start()
    monkeypatch.setattr(tf_config.time, "sleep", sleep)
    wait_for_peers(addresses, 0, report_seconds=0.0)
    is_over.set()
    thread.join()
    assert lines


def test_the_line_names_who_is_missing(capsys, monkeypatch):
    monkeypatch.setattr(tf_config, "_answers", lambda address: address == "b:2" or polls.append(1))
    monkeypatch.setattr(tf_config.time, "sleep", lambda seconds: answer_after(3))
    polls = []

    def answer_after(count):
        if len(polls) >= count:
            monkeypatch.setattr(tf_config, "_answers", lambda address: True)

    (port,) = free_ports(1)
    wait_for_peers(["a:1", f"localhost:{port}", "b:2"], 1, report_seconds=0.0)
    line = "worker 1 of 3 waits for a:1\n"
    assert capsys.readouterr().out == line * 3
    # With more patience it is silent.
    monkeypatch.setattr(tf_config, "_answers", lambda address: polls.append(1))
    polls.clear()
    wait_for_peers(["a:1", f"localhost:{port}"], 1, report_seconds=1e9)
    assert capsys.readouterr().out == ""


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}"):
            wait_for_peers([f"localhost:{port}", "localhost:1"], 0)
