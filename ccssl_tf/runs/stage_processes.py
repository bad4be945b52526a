"""The processes that a pipeline's stages run in: started, asked to stop with it, watched."""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Mapping

from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import Interrupted


class StageProcesses:
    """Starts commands as child processes and passes SIGTERM, SIGINT and SIGHUP on to all that run.

    A child is in a process group of its own, so that Ctrl-C reaches it once (through here), and is
    asked to stop when this process is killed.

    Attributes:
      interrupted: whether a signal has arrived.
    """

    def __init__(self):
        self.interrupted = False
        self._processes: list[subprocess.Popen] = []
        self._previous = {}

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # Under nohup, SIGHUP stays ignored.
                self._previous[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *unused):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _forward(self, number, unused_frame):
        self.interrupted = True
        self.stop(signal.SIGTERM if number == signal.SIGHUP else number)

    def stop(self, number: int = signal.SIGTERM):
        """Sends the signal to all that run; each saves its state and ends."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)

    def start(
        self, stage: Stage, environment: Mapping[str, str], log: pathlib.Path | None
    ) -> subprocess.Popen:
        """Starts a command.

        Args:
          stage: whose.
          environment: variables that it gets besides those of this process.
          log: file that its output is added to; None: it goes where that of this process goes.
        """
        libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

        def die_with_parent():
            if hasattr(libc, "prctl"):
                libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(Interrupted.exit_code)

        output = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = open(log, "ab")  # noqa: SIM115
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", *stage.line],
                env=dict(os.environ, PYTHONUNBUFFERED="1", **environment),
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                process_group=0,
                preexec_fn=die_with_parent,
            )
        finally:
            if output is not None:
                output.close()
        self._processes.append(process)
        if self.interrupted:
            process.terminate()
        return process
