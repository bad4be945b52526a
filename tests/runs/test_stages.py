"""Stages side by side; one after the other they are tested in test_pipeline."""

import json

import pytest

from ccssl_tf.runs import stages as stages_lib
from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import CcsslError, FlagError


class FakeProcess:
    """Ends when told, or when it is asked to stop."""

    def __init__(self, stage, environment, log):
        self.stage, self.environment, self.log, self.code = stage, environment, log, None

    def poll(self):
        return self.code

    def end(self, code=0):
        self.stage.directory.mkdir(parents=True, exist_ok=True)
        if not code:
            record = json.dumps(dict(command=self.stage.line, inputs={}))
            (self.stage.directory / "DONE").write_text(record)
        else:
            self.log.parent.mkdir(exist_ok=True)
            self.log.write_text("first\nerror: the message\n")
        self.code = code


class Script:
    """Stands in for the processes and ends them in an order: [(name, exit code), ...], one whenever
    nothing more is started.
    """

    def __init__(self, monkeypatch, *ends):
        self.events, self.started, self._ends = [], {}, list(ends)
        monkeypatch.setattr(stages_lib.StageProcesses, "start", self._start)
        monkeypatch.setattr(stages_lib.StageProcesses, "stop", self._stop)
        monkeypatch.setattr(stages_lib.time, "sleep", self._sleep)

    def _start(self, stage, environment, log):
        self.events.append(f"+{stage.name}")
        self.started[stage.name] = FakeProcess(stage, environment, log)
        return self.started[stage.name]

    def _stop(self, *unused):
        self.events.append("stop")
        for process in self.started.values():
            if process.code is None:
                process.end(75)

    def _sleep(self, unused_seconds):
        if not self._ends:  # All have been asked to stop.
            return
        name, code = self._ends.pop(0)
        self.events.append(f"-{name}")
        self.started[name].end(code)


@pytest.fixture
def plan(tmp_path):
    """Two networks of the same data, and a probe of each."""
    root = str(tmp_path)

    def stage(name, *reads):
        flags = (f"--data_dir={root}/{read}" for read in reads)
        return Stage("ccssl_tf.train", (*flags, f"--workdir={root}/{name}"), root=root)

    return [
        stage("data"), stage("a", "data"), stage("b", "data"), stage("probe_a", "a"),
        stage("probe_b", "b"),
    ]  # fmt: skip


def test_stages_run_beside_each_other_after_what_they_read(plan, tmp_path, monkeypatch):
    script = Script(monkeypatch, ("data", 0), ("b", 0), ("probe_b", 0), ("a", 0), ("probe_a", 0))
    stages_lib.run_all(plan, tmp_path, side_by_side=2)
    assert " ".join(script.events) == (
        "+data -data +a +b -b +probe_b -probe_b -a +probe_a -probe_a"
    )
    stages_lib.run_all(plan, tmp_path, side_by_side=2)
    assert len(script.events) == 10


def test_each_has_its_share_of_the_gpus_and_its_log(plan, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,5")
    ends = [(stage.name, 0) for stage in plan]
    script = Script(monkeypatch, *ends)
    stages_lib.run_all(plan, tmp_path, side_by_side=2)
    shares = {name: one.environment["CUDA_VISIBLE_DEVICES"] for name, one in script.started.items()}
    assert shares["a"] == "0,5" and shares["b"] == "1"
    assert script.started["probe_a"].log == tmp_path / "logs" / "probe_a.log"
    assert f"GPU 1; output in {tmp_path}/logs/b.log" in capsys.readouterr().out


def test_more_stages_than_gpus_are_refused(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(FlagError, match="--side_by_side=3: there are 2 GPUs"):
        stages_lib.run_all(plan, tmp_path, side_by_side=3)


def test_a_failure_stops_those_beside_it_and_is_told(plan, tmp_path, monkeypatch, capsys):
    script = Script(monkeypatch, ("data", 0), ("a", 3))
    with pytest.raises(CcsslError, match=r"a \(ccssl_tf.train\): exit code 3; its message is in"):
        stages_lib.run_all(plan, tmp_path, side_by_side=2)
    assert script.events == ["+data", "-data", "+a", "+b", "-a", "stop"]
    assert "error: the message" in capsys.readouterr().out
    script = Script(monkeypatch, ("a", 0), ("b", 0), ("probe_a", 0), ("probe_b", 0))
    stages_lib.run_all(plan, tmp_path, side_by_side=2)
    assert "+data" not in script.events and "+a" in script.events
