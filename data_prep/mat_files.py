"""MATLAB's `.mat` files, read in a process of its own: one wrong bit can end SciPy's reader, or
have it ask for any amount of memory.

The process stays for the next file (a start takes about a second, a mask of SBD a millisecond more
than without it) and is started again after a crash. What comes back are plain arrays.
"""

import contextlib
import io
import multiprocessing
import os
import pathlib
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from ccssl_tf.runs.damage import reason_of
from ccssl_tf.runs.errors import Interrupted, ResourceError

# What reading a file may take: MATLAB packs with zlib, boxes and masks to a twentieth at best.
_LEAST_BYTES, _BYTES_PER_BYTE, _SECONDS = 1 << 30, 64, 60
_SOUND, _OTHER, _DAMAGED = b"=", b"?", b"!"
_KILLED = (-signal.SIGTERM, -getattr(signal, "SIGKILL", 9))


class UnreadableMat(Exception):
    """Why a file cannot be read; who asked for it names it."""


class OtherMat(UnreadableMat):
    """What a sound file holds instead of what was asked for."""


def read_mat(kind: str, data: bytes) -> list[np.ndarray]:
    """Reads one of the files this project knows.

    Args:
      kind: "segmentation", SBD's: the mask [H, W] uint8; "boxes", Fast R-CNN's cells images and
        boxes: N names, N numbers of boxes, all boxes [R, 4] float64 as they are; "synsets",
        ImageNet's: N ILSVRC2012_ID, N WNID, N numbers of training images (-1: not told).
      data: the file.

    Returns:
      The arrays.

    Raises:
      OtherMat: a sound file of something else.
      UnreadableMat: it is damaged: it cannot be read, or its reader does not survive it.
      Interrupted: the process that reads was killed from outside.
    """
    try:
        reply = _process().ask(kind, data)
    except UnreadableMat:
        # A file before this one may have spoilt the process.
        reply = _process(fresh=True).ask(kind, data)
    if reply[:1] == _SOUND:
        return _unpacked(reply[1:])
    reason = reply[1:].decode("utf-8", "replace")
    raise (OtherMat if reply[:1] == _OTHER else UnreadableMat)(reason)


class _Process:
    """The process that reads; it ends with this one, which holds the other end of its pipe."""

    def __init__(self):
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._pipe.recv_bytes()
        except EOFError as error:
            raise ResourceError("the process that reads .mat files does not start") from error

    def ask(self, kind: str, data: bytes) -> bytes:
        """Returns its reply; raises UnreadableMat, with how it ended, if it did."""
        try:
            self._pipe.send_bytes(kind.encode())
            self._pipe.send_bytes(data)
            return self._pipe.recv_bytes()
        except (EOFError, ConnectionError) as error:
            self._process.join()
            code = self._process.exitcode
            if code in _KILLED:
                raise Interrupted(
                    "the process that reads .mat files was killed; the same command continues"
                ) from error
            how = signal.Signals(-code).name if code < 0 else f"code {code}"
            raise UnreadableMat(f"its reader ends with {how}") from error
        except BaseException:
            self.end()  # Its reply would be taken for that to the next file.
            raise

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def end(self):
        """Ends it."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


# The one of this process, where there is one yet.
_processes: list[_Process] = []


def _process(fresh: bool = False) -> _Process:
    """The process that reads, started where there is none, or anew."""
    if _processes and (fresh or not _processes[0].is_alive):
        _processes.pop().end()
    if not _processes:
        _processes.append(_Process())
    return _processes[0]


def _serve(pipe: Connection):
    """What the process does until the other end of its pipe is closed."""
    import scipy.io  # noqa: F401 - before memory is limited.

    # Ctrl-C reaches the whole group of processes; the one that asks decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the C library says of a damaged heap would be a line without a file's name.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    pipe.send_bytes(b"")
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            kind, data = pipe.recv_bytes().decode(), pipe.recv_bytes()
            pipe.send_bytes(_reply(_CONTENTS[kind], data))


def _reply(content: Callable[[bytes], list[np.ndarray]], data: bytes) -> bytes:
    memory = max(_LEAST_BYTES, _BYTES_PER_BYTE * len(data))
    try:
        _limit(memory)
        packed = io.BytesIO()
        packed.write(_SOUND)
        for array in content(data):
            np.save(packed, array, allow_pickle=False)
        return packed.getvalue()
    except OtherMat as error:
        return _OTHER + str(error).encode()
    except MemoryError:
        return _DAMAGED + f"it asks for more than {memory >> 20} MiB".encode()
    except Exception as error:  # SciPy raises anything on hostile bytes.
        return _DAMAGED + reason_of(error).encode()


def _limit(memory: int):
    """Lets this process have so much more memory than it has, and a minute of processor time."""
    try:
        import resource

        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return  # Only Linux tells, and keeps to the limit.
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + _SECONDS
    for limit, value in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (soft, hard))


def _segmentation(data: bytes) -> list[np.ndarray]:
    import scipy.io

    content = scipy.io.loadmat(io.BytesIO(data), variable_names=["GTcls"])
    mask = content["GTcls"]["Segmentation"][0, 0]
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"{mask.dtype} of {mask.ndim} dimensions")
    return [mask]


def _boxes(data: bytes) -> list[np.ndarray]:
    import scipy.io

    content = scipy.io.loadmat(io.BytesIO(data), variable_names=["images", "boxes"])
    if not {"images", "boxes"} <= content.keys():
        found = ", ".join(name for name, *_ in scipy.io.whosmat(io.BytesIO(data)))
        raise OtherMat(
            f"expected the cell arrays images and boxes, found {found[:200] or 'nothing'}"
        )
    names, boxes = (np.ravel(content[name]) for name in ("images", "boxes"))
    if len(names) != len(boxes):
        raise OtherMat(f"{len(names)} images and {len(boxes)} cells of boxes")
    rows = [np.asarray(cell, np.float64).reshape(-1, 4) for cell in boxes]
    return [
        np.array([str(np.ravel(name)[0]) for name in names], np.str_),
        np.array([len(some) for some in rows], np.int64),
        np.concatenate([np.empty([0, 4]), *rows]),
    ]


def _synsets(data: bytes) -> list[np.ndarray]:
    import scipy.io

    synsets = np.ravel(scipy.io.loadmat(io.BytesIO(data), squeeze_me=True)["synsets"])
    is_counted = "num_train_images" in (synsets.dtype.names or ())
    counts = [int(row["num_train_images"]) if is_counted else -1 for row in synsets]
    return [
        np.array([int(row["ILSVRC2012_ID"]) for row in synsets], np.int64),
        np.array([str(row["WNID"]) for row in synsets], np.str_),
        np.array(counts, np.int64),
    ]


_CONTENTS = dict(segmentation=_segmentation, boxes=_boxes, synsets=_synsets)


def _unpacked(packed: bytes) -> list[np.ndarray]:
    file, arrays = io.BytesIO(packed), []
    while file.tell() < len(packed):
        arrays.append(np.lib.format.read_array(file, allow_pickle=False))
    return arrays
