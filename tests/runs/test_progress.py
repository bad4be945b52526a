"""Lines of progress: when they come and what they say."""

from ccssl_tf.runs import progress
from ccssl_tf.runs.progress import Progress


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def test_progress_lines(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    lines = Progress("train", 100, "steps", done=20, interval=5)
    clock.now += 4
    lines.update(30)
    assert capsys.readouterr().out == ""
    clock.now += 1
    lines.update(40, loss=1.23456, accuracy=0.5, rate_scale=64, rate_unit="images")
    # 20 steps in 5 s are 4 a second, 256 images; 60 steps are left.
    assert (
        capsys.readouterr().out
        == "train  40/100 steps  loss 1.235  accuracy 0.5  256 images/s  ETA 0:00:15\n"
    )
    clock.now += 1
    lines.update(50)
    assert capsys.readouterr().out == ""
    lines.update(50, force=True)
    assert capsys.readouterr().out == "train  50/100 steps  5 steps/s  ETA 0:00:10\n"
    lines.update(100)
    assert capsys.readouterr().out.endswith("ETA 0:00:00\n")


def test_progress_without_any_yet_knows_no_end(monkeypatch, capsys):
    Clock(monkeypatch)
    Progress("copy", 10, "files").update(0, force=True)
    assert capsys.readouterr().out == "copy  0/10 files  0 files/s  ETA ?\n"
