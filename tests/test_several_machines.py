"""The recipes for schedulers give every process a TF_CONFIG that the commands take."""

import os
import pathlib
import subprocess

import pytest

from ccssl_tf.runs.tf_config import read_tf_config

RECIPES = pathlib.Path(__file__).resolve().parent.parent / "experiments" / "several_machines"


def program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def parsed(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    return read_tf_config()


@pytest.mark.parametrize("code, requeued", [(0, False), (75, True), (2, False)])
def test_slurm_starts_a_worker_on_each_node_and_requeues(tmp_path, monkeypatch, code, requeued):
    programs = tmp_path / "programs"
    program(
        programs / "scontrol",
        f'if [ "$1" = show ]; then printf "node1\\nnode2\\nnode7\\n"; else '
        f'echo "$@" > {tmp_path}/requeued; fi',
    )
    # Exits with the highest code of its tasks, as srun does.
    program(
        programs / "srun",
        'worst=0\nfor task in 0 1 2; do SLURM_PROCID=$task "$@"; code=$?\n'
        '[ "$code" -gt "$worst" ] && worst=$code; done; exit "$worst"',
    )
    program(
        programs / "python",
        f'echo "$TF_CONFIG" > {tmp_path}/config-$SLURM_PROCID\n'
        f'printf "%s\\n" "$@" > {tmp_path}/words-$SLURM_PROCID\n'
        f"[ $SLURM_PROCID = 1 ] && exit {code}; exit 0",
    )
    words = ["ccssl_tf.train", "--data_dir=a path", "--workdir=w"]
    environment = dict(
        PATH=f"{programs}:{os.environ['PATH']}", SLURM_JOB_NODELIST="node[1-2,7]", SLURM_JOB_ID="83"
    )
    done = subprocess.run([RECIPES / "slurm.sh", *words], env=environment, check=False)
    assert done.returncode == code
    addresses = ["node1:2222", "node2:2222", "node7:2222"]
    for index in range(3):
        config = (tmp_path / f"config-{index}").read_text()
        assert parsed(config, monkeypatch) == (addresses, index)
        assert (tmp_path / f"words-{index}").read_text().splitlines() == ["-m", *words]
    assert (tmp_path / "requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 83\n"


def test_kubernetes_pods_know_each_other(tmp_path, monkeypatch):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    service, job = yaml.safe_load_all((RECIPES / "kubernetes.yaml").read_text())
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    count = spec["completions"]
    assert spec["parallelism"] == count and spec["completionMode"] == "Indexed"
    (variable,) = container["env"]
    assert variable == dict(name="num_workers", value=str(count))
    # The Service's name is the pods' subdomain, and it finds them by the Job's label.
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    ignored = spec["podFailurePolicy"]["rules"][0]
    assert ignored["action"] == "Ignore" and ignored["onExitCodes"]["values"] == [75]
    program(tmp_path / "python", 'echo "$TF_CONFIG"')
    environment = dict(
        PATH=f"{tmp_path}:{os.environ['PATH']}", num_workers=str(count), JOB_COMPLETION_INDEX="2"
    )
    line = [*container["command"], *container["args"]]
    done = subprocess.run(line, env=environment, check=True, capture_output=True, text=True)
    name = job["metadata"]["name"]
    addresses = [f"{name}-{index}.{pod['subdomain']}:2222" for index in range(count)]
    assert parsed(done.stdout, monkeypatch) == (addresses, 2)
