"""Processes of stages: where their output goes, what they are told, how they are stopped."""

import signal
import time

import pytest

from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.stage_processes import StageProcesses

# Modules of Python stand for commands.
SERVER = Stage("http.server", ("0",))


def test_output_is_added_to_a_log(tmp_path):
    log = tmp_path / "logs" / "a.log"
    with StageProcesses() as processes:
        for _ in range(2):
            assert processes.start(Stage("timeit", ("-n1", "-r1")), {}, log).wait() == 0
    assert log.read_text().count("1 loop, best of 1") == 2


def test_a_process_gets_its_variables(tmp_path):
    program = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    log = tmp_path / "a.log"
    with StageProcesses() as processes:
        stage = Stage("timeit", ("-n1", "-r1", program))
        assert processes.start(stage, dict(CUDA_VISIBLE_DEVICES="3,7"), log).wait() == 0
    assert log.read_text().startswith("3,7\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_all_that_run(tmp_path, number):
    with StageProcesses() as processes:
        running = [processes.start(SERVER, {}, tmp_path / f"{n}.log") for n in range(2)]
        while not all("Serving" in (tmp_path / f"{n}.log").read_text() for n in range(2)):
            assert all(process.poll() is None for process in running)
            time.sleep(0.05)
        assert not processes.interrupted
        signal.raise_signal(number)
        # The server takes SIGINT for its end.
        expected = 0 if number == signal.SIGINT else -signal.SIGTERM
        assert [process.wait(timeout=30) for process in running] == [expected] * 2
        assert processes.interrupted
        assert processes.start(SERVER, {}, tmp_path / "late.log").wait(timeout=30) != 0
