import io
import tarfile


def _tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_the_command_wants_to_know_what_the_ids_are(commands, tmp_path):
    wnids = ["n00000001", "n00000002"]
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    inner = {f"{wnid}.tar": _tar({f"{wnid}_{i}.JPEG": b"x" for i in range(3)}) for wnid in wnids}
    (source / "ILSVRC2012_img_train.tar").write_bytes(_tar(inner))
    (source / "ILSVRC2012_img_val.tar").write_bytes(
        _tar({f"ILSVRC2012_val_{k:08d}.JPEG": b"x" for k in (1, 2)})
    )
    (source / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n")
    flags = ("imagenet", f"--source={source}", f"--output_dir={out}", "--dry_run")
    _, errors = commands.run(*flags, code=2)
    assert errors.count("\n") == 1 and "--ground_truth_ids=synsets" in errors
    output, _ = commands.run(*flags, "--ground_truth_ids=synsets")
    assert "6 train, 2 val images, 2 classes" in output
    commands.run(*flags, "--ground_truth_ids=line", code=1)
    assert not out.exists()
