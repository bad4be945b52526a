"""Power loss: wherever it falls, a directory whose manifest or DONE is there has all that it tells
of. A disk keeps of a file what was synced, and of a rename what its directory's sync came after.
"""

import os

import numpy as np
import pytest

from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data import records
from ccssl_tf.data.feature_directory import feature_records
from ccssl_tf.data.manifest import Manifest, shard_name
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import save_backbone
from ccssl_tf.runs.settings import CommandSettings
from ccssl_tf.runs.values import Values
from ccssl_tf.runs.workdir import Workdir


class Disk:
    """What of the renames and files would still be there after a power loss."""

    def __init__(self, monkeypatch):
        self.durable = []  # Names, in the order in which their renames became durable.
        self._synced, self._pending = set(), {}
        fsync, replace = os.fsync, os.replace

        def noted_fsync(descriptor):
            fsync(descriptor)
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self._synced.add(path)
            self.durable += self._pending.pop(path, [])

        def noted_replace(old, new):
            assert os.path.realpath(old) in self._synced, f"{new}: renamed before it was synced"
            replace(old, new)
            directory, name = os.path.split(os.path.realpath(new))
            self._pending.setdefault(directory, []).append(name)
            if name in ("manifest.json", "DONE"):
                # Were the power lost now, it might be there, and nothing else that waits.
                assert self._pending[directory] == [name], self._pending[directory]

        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "replace", noted_replace)

    def left(self):
        return {name for names in self._pending.values() for name in names}


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def test_pseudo_labels(disk, tmp_path):
    labels = PseudoLabels("1a2b", np.arange(3), np.array([1, 0, 1]), np.zeros(3))
    write_pseudo_labels(tmp_path, dict(train=labels, val=labels), num_clusters=2)
    names = [shard_name(split, 0, 1) for split in ("train", "val")]
    assert disk.durable == [*names, "manifest.json"] and not disk.left()


def test_features(disk, tmp_path):
    rows = feature_records([(np.arange(3), np.ones([3, 2], np.float32))])
    shard = records.write_shard(tmp_path / shard_name("train", 0, 1), rows, num_examples=3)
    Manifest("features", dict(train=[shard]), dict(dim=2, dtype="float32")).write(tmp_path)
    assert disk.durable == [shard.name, "manifest.json"] and not disk.left()


def test_a_run(disk, tmp_path):
    with Workdir(
        tmp_path / "run", inputs={}, settings=Values("ccssl_tf.x", [CommandSettings()])
    ) as workdir:
        save_backbone(AlexNet(stem="small", width_multiplier=0.1, fc_units=()), workdir.path)
        workdir.finish(metrics={})
    told = ["backbone.keras", "backbone.json", "metrics.json", "timing.json", "digests.json"]
    assert disk.durable[-6:] == [*told, "DONE"] and not disk.left()
