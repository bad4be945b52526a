"""The processes of a job as TF_CONFIG names them, and waiting for them to be there."""

import json
import os
import socket
import time

from ccssl_tf.runs.errors import InputError, Interrupted

# Peers of a job that has been started are there within minutes; later, one has failed.
DEADLINE_SECONDS = 1800.0
_REPORT_SECONDS = 30.0
_SHOWN_LENGTH = 200
_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


def is_one_machine() -> bool:
    """Whether TF_CONFIG names no other processes: it is not set, empty, or has no cluster, as
    managers of clusters leave it for a job of one machine.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    try:
        if not text or not json.loads(text).get("cluster"):
            return True
    except (ValueError, AttributeError, RecursionError):
        pass  # `read_tf_config` says what is wrong.
    return len(read_tf_config()[0]) == 1


def read_tf_config() -> tuple[list[str], int]:
    """Returns the addresses ("host:port") of all workers, the chief first, and which of them this
    process is.

    Raises:
      InputError: TF_CONFIG is missing or says something that cannot be.
    """
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        cluster, task = config["cluster"], config["task"]
        kind, index = str(task["type"]), int(task["index"])
        chiefs, workers = list(cluster.get("chief", [])), list(cluster.get("worker", []))
        parts = [address.rpartition(":") for address in chiefs + workers]
        ports = [int(port) for _, _, port in parts]
    except KeyError as error:
        raise InputError(
            f"TF_CONFIG: no {error}; --strategy=multi_worker wants {_EXAMPLE}"
        ) from error
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        shown = repr(os.environ["TF_CONFIG"])[:_SHOWN_LENGTH]
        raise InputError(
            f"TF_CONFIG={shown}: cannot be read ({str(error)[:_SHOWN_LENGTH]}); wanted {_EXAMPLE}"
        ) from error
    addresses = chiefs + workers
    others = sorted(set(cluster) - {"chief", "worker"})
    if others:
        raise InputError(
            f"TF_CONFIG: cluster has {', '.join(others)}; there are only workers here (and one may "
            "be called chief)"
        )
    if (
        len(set(addresses)) != len(addresses)
        or len(chiefs) > 1
        or not all(host for host, _, _ in parts)
        or not all(0 < port < 2**16 for port in ports)
    ):
        raise InputError(
            f"TF_CONFIG: {', '.join(map(str, addresses))}: every worker needs a host:port of its "
            "own, and one is chief"
        )
    if kind not in cluster or not 0 <= index < len(cluster[kind]):
        raise InputError(
            f"TF_CONFIG: this is {kind} {index}, and the cluster has "
            + ", ".join(f"{len(cluster[k])} {k}" for k in cluster)
        )
    return addresses, index + (len(chiefs) if kind == "worker" else 0)


def wait_for_peers(
    addresses: list[str],
    index: int,
    report_seconds: float = _REPORT_SECONDS,
    deadline_seconds: float = DEADLINE_SECONDS,
):
    """Returns when a program answers at every other worker's address; says every `report_seconds`
    whom it waits for.

    TensorFlow would wait too, but in silence and deaf to signals. Until all are there, this process
    answers at its own address.

    Raises:
      InputError: the own port is taken.
      Interrupted: some are not there after `deadline_seconds`; they are named.
    """
    started = time.monotonic()
    port = int(addresses[index].rpartition(":")[2])
    missing, said = addresses[:index] + addresses[index + 1 :], time.monotonic()
    try:
        listener = socket.create_server(("", port), backlog=len(addresses) + 16)
    except OSError as error:
        raise InputError(
            f"TF_CONFIG: worker {index} is to be {addresses[index]}, but port {port}: "
            f"{error.strerror}"
        ) from error
    with listener:
        while missing := [address for address in missing if not _answers(address)]:
            if time.monotonic() - started >= deadline_seconds:
                raise Interrupted(
                    f"worker {index} of {len(addresses)} has waited {deadline_seconds:g} s for "
                    f"{', '.join(missing)}; start all workers again"
                )
            if time.monotonic() - said >= report_seconds:
                said = time.monotonic()
                print(
                    f"worker {index} of {len(addresses)} waits for {', '.join(missing)}", flush=True
                )
            time.sleep(0.2)


def _answers(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        return True
    except OSError:
        return False
