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
from collections import Counter
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
    b".avif",
    b".heic",
    b".heif",
)
# Folders that Synology's and QNAP's disks, macOS and Windows keep beside pictures, in lower case.
# Those whose name begins with a dot are of this kind, too.
_SYSTEM_FOLDERS = {
    b"@eadir",
    b"@recycle",
    b"@recently-snapshot",
    b"@sharebin",
    b"@tmp",
    b"#recycle",
    b"#snapshot",
    b"__macosx",
    b"__pycache__",
    b"$recycle.bin",
    b"system volume information",
    b"lost+found",
}
_OPEN_FILES = 16
_END_BYTES = 2 * tarfile.BLOCKSIZE  # Zeros that close a tar; programs may fill up its last record.


class SourceFile(NamedTuple):
    """A file in a tree or a tar: name relative to its root (bytes, `/` between parts), bytes, and
    the location `read_location` takes.
    """

    name: bytes
    size: int
    location: tuple


def is_image_name(name: bytes) -> bool:
    """Whether the name ends like that of an image, and neither it nor a folder is hidden or of the
    system.
    """
    if not name.lower().endswith(IMAGE_SUFFIXES):
        return False
    *_, file = name.rpartition(b"/")
    return not file.startswith(b".") and system_folder(name) is None


def system_folder(name: bytes) -> bytes | None:
    """Returns the first part of a name's folders that is hidden or of the system; None: none is."""
    *folders, _ = name.split(b"/")
    return next((part for part in folders if is_system_folder(part)), None)


def is_system_folder(part: bytes) -> bool:
    """Whether a folder of this name is hidden, or holds what a system keeps beside pictures."""
    return part.startswith(b".") or part.lower() in _SYSTEM_FOLDERS


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


class SkippedFolders(NamedTuple):
    """What a walk left out.

    Attributes:
      system: name -> how many folders of it were not looked into, since they are hidden or of the
        system.
      links: printable paths of links to folders that had been read already.
      dangling: printable paths of links that lead nowhere.
    """

    system: Counter[bytes]
    links: list[str]
    dangling: list[str]

    @classmethod
    def nothing(cls) -> "SkippedFolders":
        """Returns what a walk may add to."""
        return cls(Counter(), [], [])

    def describe(self) -> Iterator[str]:
        """Yields a line, without the source's name, for each kind that was left out."""
        if self.system:
            names = ", ".join(
                f"{printable(name)} {count}" for name, count in self.system.most_common(5)
            )
            yield f"skipping {self.system.total()} hidden or system folders ({names})"
        if self.links:
            yield (
                f"skipping {len(self.links)} links to folders that are read anyway (first: "
                f"{self.links[0]})"
            )
        if self.dangling:
            yield (
                f"skipping {len(self.dangling)} links that lead nowhere (first: {self.dangling[0]})"
            )


def walk_tree(
    root: str | pathlib.Path,
    skipped: SkippedFolders | None = None,
    *,
    skips_dangling: bool = False,
) -> Iterator[SourceFile]:
    """Yields the regular files below `root`, sorted, following links.

    A folder right below `root` is always read, so that `val` may be a link to `test`; below it a
    folder that was reached already is passed over, and so are loops. Hidden folders and those of
    the system are not looked into.

    Args:
      root: directory.
      skipped: what is left out is added to it.
      skips_dangling: whether links that lead nowhere are left out. Of a set that others published
        an image would be missing.

    Raises:
      InputError: a dangling link, a pipe, a device, or a path longer than the system reads.
      OSError: something unreadable.
    """
    skipped = skipped or SkippedFolders.nothing()
    top = os.fsencode(root)
    # The folders being read, the innermost last: path, what stands before its files' names, the
    # names that are left, and the folders that were read below the same one of the root's. A loop
    # in place of a recursion, for trees may be deeper than Python's stack.
    open_folders = [(top, b"", iter(sorted(os.listdir(top))), set())]
    while open_folders:
        directory, prefix, names, visited = open_folders[-1]
        name = next(names, None)
        if name is None:
            open_folders.pop()
            continue
        path = os.path.join(directory, name)
        status = _status(path)
        if status is None and skips_dangling:
            skipped.dangling.append(printable(path))
        elif status is None:
            raise InputError(f"{printable(path)}: a link that leads nowhere; remove it")
        elif stat.S_ISREG(status.st_mode):
            yield SourceFile(prefix + name, status.st_size, (os.fsdecode(path), 0, None))
        elif not stat.S_ISDIR(status.st_mode):
            raise InputError(f"{printable(path)}: neither a file nor a directory; remove it")
        elif is_system_folder(name):
            skipped.system[name] += 1
        else:
            if not prefix:
                visited = {_identity(os.stat(top))}
            if _identity(status) in visited:
                skipped.links.append(printable(path))
            else:
                visited.add(_identity(status))
                inside = iter(sorted(os.listdir(path)))
                open_folders.append((path, prefix + name + b"/", inside, visited))


def _status(path):
    """What the system knows of a file; None of a link that leads nowhere."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"{printable(path)[:80]}...: a path of {len(path)} bytes, longer than the system "
                "reads; move the folder up"
            ) from error
        raise


def _identity(status):
    return status.st_dev, status.st_ino


def tar_members(
    path: str | pathlib.Path, start: int = 0, end: int | None = None
) -> Iterator[SourceFile]:
    """Yields the files of an uncompressed tar, or of one lying at bytes [start, end) of another
    file; tars of whole records one behind the other (`cat a.tar b.tar`) are read as one.

    Raises:
      InputError: no tar, compressed, truncated, holding a link, a device, an absolute name, `..` or
        a name twice: the member is named; zeros in place of members, at its end too; or followed
        by something that is no tar.
    """
    path = pathlib.Path(path)
    seen: set[bytes] = set()
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size if end is None else end
        behind: int | None = start
        while behind is not None:
            behind = yield from _members_of_one(path, file, behind, end, seen)


def _members_of_one(path, file, start, end, seen):
    """Yields the files of the tar at `start`; returns where the next one begins, or None."""
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
            return _behind_end(path, file, start, archive.offset, end)
    except tarfile.TarError as error:
        raise InputError(
            f"{path}: not a whole uncompressed tar at byte {start} ({error}); fetch it again, "
            "or decompress it"
        ) from error


def _behind_end(path, file, start, offset, end):
    """Returns where the next tar begins behind one of bytes [start, offset), or None.

    What is lost among zeros cannot be known. So they are an end only where they are what programs
    write: two blocks, or two and those that fill up a record; another tar begins behind a record.

    Raises:
      InputError: any other zeros.
    """
    if end - offset == _END_BYTES and not any(_block(file, offset, end)):
        return None
    records = -((start - offset - _END_BYTES) // tarfile.RECORDSIZE)
    behind = start + records * tarfile.RECORDSIZE
    closing = _block(file, offset, min(behind, end))
    zeros = len(closing) - len(closing.lstrip(b"\0"))
    if zeros < len(closing):
        block = offset + zeros // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        raise InputError(
            f"{path}: zeros from byte {offset} to {block} where a member should be; fetch it again"
        )
    if behind > end or (behind < end and not any(_block(file, behind, behind + 1))):
        raise InputError(
            f"{path}: zeros from byte {offset} on that do not end a tar (1,024 do, or as many as "
            "fill its last record of 10,240), as an interrupted download leaves them; fetch it "
            "again, or pack it anew"
        )
    return behind if behind < end else None


def _block(file, start, end):
    file.seek(start)
    return file.read(end - start)


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
