"""What files of others claim to unpack to, looked at before anything in them is unpacked."""

import os
import zipfile

from ccssl_tf.runs.errors import CorruptArtifactError

# Archives that unpack to no more are never refused for their size.
_SMALL = 64 << 20
# The record at the end, without its comment; the number of members where it is told elsewhere.
_END_BYTES, _MANY = 22, 0xFFFF


def open_zip(path: str | os.PathLike, most_expansion: int, advice: str) -> zipfile.ZipFile:
    """Opens an archive.

    What its members claim to unpack to decides, added up, before memory is asked for: DEFLATE makes
    a thousandth of zeros, so that a file of megabytes can ask for gigabytes.

    Args:
      path: of the archive.
      most_expansion: how many times its own size the members may have together; up to 64 MiB they
        may have anyway.
      advice: what to do with such a file, as the message ends.

    Raises:
      CorruptArtifactError: it claims more.
      zipfile.BadZipFile: no archive, or a damaged list of members; see `told_as_damage`.
    """
    archive = zipfile.ZipFile(path)
    members, size = archive.infolist(), os.path.getsize(path)
    with open(path, "rb") as file:
        file.seek(max(size - _END_BYTES - len(archive.comment), 0))
        end = file.read(_END_BYTES)
    # In a damaged list of members one may hide others, which zipfile does not see.
    told = int.from_bytes(end[10:12], "little")
    if end[:4] != b"PK\5\6" or told not in (len(members), _MANY):
        raise zipfile.BadZipFile(f"{len(members)} members, where its end tells of {told}")
    for member in members:
        archive.open(member).close()  # Compares its name in the list with that at its own place.
    unpacked = sum(member.file_size for member in members)
    check_expansion(path, unpacked, size, most_expansion, advice)
    return archive


def check_expansion(
    path: str | os.PathLike, unpacked: int, size: int, most_expansion: int, advice: str
) -> None:
    """Raises CorruptArtifactError where a file of `size` bytes claims to unpack to too many, as
    `open_zip` does.
    """
    if unpacked > max(_SMALL, most_expansion * size):
        raise CorruptArtifactError(
            f"{path}: unpacks to {unpacked / 2**20:,.0f} MiB from {size / 2**20:,.1f}, more than "
            f"{most_expansion} times as much; {advice}"
        )
