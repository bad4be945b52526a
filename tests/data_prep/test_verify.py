import shutil


def test_the_command(commands, shapes_dir, tmp_path):
    output, errors = commands.run("verify", f"--data_dir={shapes_dir}", "--num_workers=2")
    assert "whole: 750 train, 20 val images" in output and "ETA" in output and errors == ""
    before = {path.name for path in shapes_dir.iterdir()}
    damaged = shutil.copytree(shapes_dir, tmp_path / "damaged")
    shards = sorted(damaged.glob("train-*.tfrecord"))
    data = bytearray(shards[1].read_bytes())
    data[len(data) // 2] ^= 1
    shards[1].write_bytes(data)
    shards[0].unlink()
    output, errors = commands.run("verify", f"--data_dir={damaged}", "--num_workers=1", code=3)
    assert f"{shards[0].name}: is missing" in output and f"{shards[1].name}: record " in output
    assert errors.count("\n") == 1 and "3 faults" in errors
    assert {path.name for path in shapes_dir.iterdir()} == before


def test_what_cannot_be_checked(commands, shapes_dir, tmp_path):
    commands.run("verify", code=1)
    commands.run("verify", f"--data_dir={tmp_path / 'none'}", code=2)
    _, errors = commands.run("verify", f"--data_dir={tmp_path}", code=3)
    assert "no manifest.json" in errors
    output, _ = commands.run(
        "verify", f"--data_dir={shapes_dir}", "--dry_run", without=["tensorflow"]
    )
    assert "to check 750 train" in output
