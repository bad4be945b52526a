import io
import os
import tarfile

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep import locations


def _tar(path, members):
    """Members: (name or TarInfo, bytes)."""
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_tar_members_are_read_in_place(tmp_path):
    long = "d/" * 60 + "x" * 120 + ".jpg"
    path = _tar(
        tmp_path / "a.tar",
        [("./a.jpg", b"one"), (long, b"two" * 1000), ("caf\udce9.png", b"three"), ("e.jpg", b"")],
    )
    found = {
        member.name: locations.read_location(member.location)
        for member in locations.tar_members(path)
    }
    assert found == {
        b"a.jpg": b"one",
        long.encode(): b"two" * 1000,
        b"caf\xe9.png": b"three",
        b"e.jpg": b"",
    }


def test_tars_inside_a_tar_are_read_in_place(tmp_path):
    inner = [
        _tar(tmp_path / f"n{i}.tar", [(f"n{i}_{j}.JPEG", f"{i} {j}".encode()) for j in range(3)])
        for i in range(2)
    ]
    outer = _tar(tmp_path / "outer.tar", [(path.name, path.read_bytes()) for path in inner])
    found = {}
    for member in locations.tar_members(outer):
        path, start, size = member.location
        found.update(
            (m.name, locations.read_location(m.location))
            for m in locations.tar_members(path, start, start + size)
        )
    assert found == {
        f"n{i}_{j}.JPEG".encode(): f"{i} {j}".encode() for i in range(2) for j in range(3)
    }


@pytest.mark.parametrize(
    "member",
    [
        "/etc/evil.jpg",
        "../evil.jpg",
        "a/../../evil.jpg",
        _special("link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        _special("hard.jpg", tarfile.LNKTYPE, "a.jpg"),
        _special("device.jpg", tarfile.CHRTYPE),
        _special("pipe.jpg", tarfile.FIFOTYPE),
        "a.jpg",
    ],
    ids=[
        "absolute",
        "parent",
        "parent_inside",
        "symbolic_link",
        "hard_link",
        "device",
        "pipe",
        "twice",
    ],
)
def test_dangerous_members_are_refused_by_name(tmp_path, member):
    path = _tar(tmp_path / "evil.tar", [("a.jpg", b"one"), (member, b"")])
    name = member if isinstance(member, str) else member.name
    with pytest.raises(InputError, match=name.lstrip("/.").split("/")[-1]):
        list(locations.tar_members(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["evil.tar"]


def test_truncated_and_foreign_tars_are_refused(tmp_path):
    path = _tar(tmp_path / "a.tar", [("a.jpg", b"x" * 3000), ("b.jpg", b"y" * 3000)])
    data = path.read_bytes()
    for name, content in {
        "cut_data": data[:5000],
        "cut_header": data[:3800],
        "empty": b"",
        "text": b"no tar" * 500,
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            list(locations.tar_members(tmp_path / name))
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        archive.add(path, "a.jpg")
    with pytest.raises(InputError, match="uncompressed"):
        list(locations.tar_members(tmp_path / "b.tar.gz"))
    # A class tar cut short must not run on into what follows it.
    with pytest.raises(InputError):
        list(locations.tar_members(path, 0, 1000))


def test_walk_follows_links_and_survives_loops(tmp_path):
    (tmp_path / "tree" / "b" / "c").mkdir(parents=True)
    (tmp_path / "elsewhere.jpg").write_bytes(b"far")
    odd = os.fsencode(tmp_path / "tree" / "b") + b"/new\nline\xff.jpg"
    with open(odd, "wb") as file:
        file.write(b"odd")
    (tmp_path / "tree" / "a.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (tmp_path / "tree" / "b" / "c" / "loop").symlink_to(tmp_path / "tree")
    (tmp_path / "tree" / ".hidden").mkdir()
    (tmp_path / "tree" / ".hidden" / "x.jpg").write_bytes(b"no")
    found = {
        file.name: locations.read_location(file.location)
        for file in locations.walk_tree(tmp_path / "tree")
    }
    assert found == {b"a.jpg": b"far", b"b/new\nline\xff.jpg": b"odd"}


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="gone.jpg"):
        list(locations.walk_tree(tmp_path))
    (tmp_path / "gone.jpg").unlink()
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match="pipe.jpg"):
        list(locations.walk_tree(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_directories_are_errors(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(PermissionError, match="closed"):
        list(locations.walk_tree(tmp_path))


def test_image_names():
    for name in (b"a.jpg", b"a/B.JPEG", b"x.PnG", b"x.webp", b"x.gif", b"x.bmp", b"x.tiff"):
        assert locations.is_image_name(name)
    for name in (
        b"a.txt",
        b"jpg",
        b".a.jpg",
        b"._a.jpg",
        b"__MACOSX/a.jpg",
        b"a.jpg.part",
        b".x/a.jpg",
    ):
        assert not locations.is_image_name(name)


def test_tars_one_behind_the_other_are_read_as_one(tmp_path):
    parts = [
        _tar(tmp_path / f"{name}.tar", [(f"{name}.jpg", name.encode() * 700)]) for name in "abc"
    ]
    joined = tmp_path / "joined.tar"
    joined.write_bytes(b"".join(path.read_bytes() for path in parts))
    members = {
        member.name: locations.read_location(member.location)
        for member in locations.tar_members(joined)
    }
    assert members == {f"{name}.jpg".encode(): name.encode() * 700 for name in "abc"}


@pytest.mark.parametrize(
    "behind, message",
    [
        (b"some text", "truncated or damaged at byte 10240"),
        (bytes(512), "zeros from byte 2560 on that do not end a tar"),
        (bytes(10240), "zeros from byte 2560 on that do not end a tar"),
        (b"\xff\xd8\xff" * 400, "truncated or damaged at byte 10240"),
        ("first", "its member a.jpg: there twice"),
        ("half", "truncated"),
    ],
    ids=[
        "text",
        "picture",
        "a block of zeros",
        "a record of zeros",
        "the same again",
        "half a tar",
    ],
)
def test_what_follows_a_tar_is_checked(tmp_path, behind, message):
    first = _tar(tmp_path / "a.tar", [("a.jpg", b"x" * 2000)]).read_bytes()
    other = _tar(tmp_path / "b.tar", [("b.jpg", b"y" * 2000)]).read_bytes()
    data = {"first": first, "half": other[:1500]}.get(behind, behind)
    (tmp_path / "a.tar").write_bytes(first + data)
    with pytest.raises(InputError, match=message):
        list(locations.tar_members(tmp_path / "a.tar"))


def test_zeros_in_place_of_members_are_no_end(tmp_path):
    """A zeroed header of an inner tar, a preallocated download that was cut off."""
    inner = [
        _tar(tmp_path / f"n{i}.tar", [(f"n{i}_{j}.JPEG", bytes([i]) * 700) for j in range(3)])
        for i in range(3)
    ]
    path = _tar(tmp_path / "outer.tar", [(part.name, part.read_bytes()) for part in inner])
    whole, second = path.read_bytes(), list(locations.tar_members(path))[1].location[1]
    path.write_bytes(whole[: second - 512] + bytes(512) + whole[second:])
    with pytest.raises(InputError, match=f"zeros from byte {second - 512} to {second} where"):
        list(locations.tar_members(path))
    path.write_bytes(whole[: second - 512] + bytes(200_000))
    with pytest.raises(InputError, match=f"zeros from byte {second - 512} on .* interrupted"):
        list(locations.tar_members(path))


def test_trees_deeper_than_pythons_stack(deep_tree):
    deep_tree.file.write_bytes(b"deep")
    (file,) = locations.walk_tree(deep_tree.root)
    assert file.name == b"d/" * 1100 + b"1.jpg"
    assert locations.read_location(file.location) == b"deep"


def test_links_that_lead_nowhere_are_refused_unless_they_may_be_skipped(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    skipped = locations.SkippedFolders.nothing()
    with pytest.raises(InputError, match="gone.jpg: a link that leads nowhere; remove it"):
        list(locations.walk_tree(tmp_path, skipped))
    assert not list(locations.walk_tree(tmp_path, skipped, skips_dangling=True))
    assert [os.path.basename(name) for name in skipped.dangling] == ["gone.jpg"]
