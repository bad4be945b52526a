"""Where image bytes lie: files of a directory tree, or members of a tar, found once and then read
at random.

Archives are never extracted; a member whose name or kind could write outside a directory is refused
all the same, since such an archive is not what it seems to be.
"""

import errno
import functools
import os
import pathlib
import stat
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from ccssl_tf.runs.errors import InputError
from data_prep.decoding import printable

IMAGE_SUFFIXES = (
    b".jpg",
    b".jpeg",
    b".jpe",
    b".jfif",
    b".png",
    b".webp",
    b".gif",
    b".bmp",
    b".tif",
    b".tiff",
)
_OPEN_FILES = 16


class SourceFile(NamedTuple):
    """A file in a tree or a tar: name relative to its root (bytes, `/` between parts), bytes, and
    the location `read_location` takes.
    """

    name: bytes
    size: int
    location: tuple


def is_image_name(name: bytes) -> bool:
    """Whether the name ends like that of an image and is neither hidden nor a macOS
    resource fork.
    """
    return name.lower().endswith(IMAGE_SUFFIXES) and not any(
        part.startswith((b".", b"__MACOSX")) for part in name.split(b"/")
    )


def read_location(location: tuple) -> bytes:
    """Returns the bytes at (path, offset, size), or the whole file when size is None.

    Fewer bytes than asked for are returned when the file ends early: the image is then found to be
    truncated.
    """
    path, offset, size = location
    if size is None:
        return pathlib.Path(path).read_bytes()
    return os.pread(_open(path).fileno(), size, offset)


@functools.lru_cache(_OPEN_FILES)
def _open(path):
    return open(path, "rb")


def walk_tree(root: str | pathlib.Path) -> Iterator[SourceFile]:
    """Yields the regular files below `root`, sorted, following links; a directory reached again (a
    loop) is passed over.

    Raises:
      InputError: a dangling link, a pipe or a device.
      OSError: something unreadable.
    """
    visited = set()

    def walk(directory, prefix):
        status = os.stat(directory)
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            try:
                status = os.stat(path)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP):
                    raise InputError(
                        f"{printable(path)}: a link that leads nowhere; remove it"
                    ) from error
                raise
            if stat.S_ISDIR(status.st_mode):
                if not name.startswith(b"."):
                    yield from walk(path, prefix + name + b"/")
            elif stat.S_ISREG(status.st_mode):
                yield SourceFile(prefix + name, status.st_size, (os.fsdecode(path), 0, None))
            else:
                raise InputError(f"{printable(path)}: neither a file nor a directory; remove it")

    yield from walk(os.fsencode(root), b"")


def tar_members(
    path: str | pathlib.Path, start: int = 0, end: int | None = None
) -> Iterator[SourceFile]:
    """Yields the files of an uncompressed tar, or of one lying at bytes [start, end) of another
    file.

    Raises:
      InputError: no tar, compressed, truncated, or holding a link, a device, an absolute name, `..`
        or a name twice: the member is named.
    """
    path = pathlib.Path(path)
    seen = set()
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size if end is None else end
        file.seek(start)
        try:
            # Without "r:" tarfile would unpack compressed archives, which cannot be read at random.
            with tarfile.open(
                fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape"
            ) as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # A million members would take a gigabyte.
                    _check_member(path, member, seen)
                    if member.offset_data + member.size > end:
                        raise InputError(
                            f"{path}: truncated inside {_printable_member(member)}; fetch it again"
                        )
                    if member.isfile():
                        yield SourceFile(
                            _member_name(member),
                            member.size,
                            (str(path), member.offset_data, member.size),
                        )
                # tarfile takes a damaged or missing header for the end; the real end is a block of
                # zeros.
                file.seek(archive.offset)
                if archive.offset + tarfile.BLOCKSIZE > end or any(file.read(tarfile.BLOCKSIZE)):
                    raise InputError(
                        f"{path}: truncated or damaged at byte {archive.offset}; fetch it again"
                    )
        except tarfile.TarError as error:
            raise InputError(
                f"{path}: not a whole uncompressed tar at byte {start} ({error}); fetch it again, "
                "or decompress it"
            ) from error


def _check_member(path, member, seen):
    name = _member_name(member)
    if name.startswith(b"/") or b".." in name.split(b"/"):
        why = "a name that leads outside"
    elif member.issym() or member.islnk():
        why = "a link"
    elif not (member.isfile() or member.isdir()) or member.issparse():
        why = "neither a plain file nor a directory"
    elif member.isfile() and name in seen:
        why = "there twice"
    else:
        seen.add(name)
        return
    raise InputError(f"{path}: refused for its member {_printable_member(member)}: {why}")


def _member_name(member):
    name = member.name.encode("utf-8", "surrogateescape")
    while name.startswith(b"./"):
        name = name[2:]
    return name


def _printable_member(member):
    return printable(_member_name(member))
