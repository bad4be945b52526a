"""Readers of other programs' formats raise anything on damaged files; here that becomes one line.

What the system says of a file (no permission, no space) stays what it is, and so do errors of ours.
"""

import contextlib
import errno
import os
from collections.abc import Iterator

from ccssl_tf.runs.errors import CcsslError, CorruptArtifactError

# A damaged file makes its reader seek to places that there cannot be.
_OF_THE_CONTENT = (None, errno.EINVAL, errno.EOVERFLOW)


@contextlib.contextmanager
def told_as_damage(
    path: str | os.PathLike,
    what: str,
    advice: str,
    error: type[CcsslError] = CorruptArtifactError,
) -> Iterator[None]:
    """Raises `error` with one line for whatever a reader raises inside.

    Args:
      path: of the file that is read, as the message begins.
      what: the file is then said to be, such as "not a codebook".
      advice: what to do, as the message ends.
      error: the class of what is raised.

    Raises:
      CorruptArtifactError: or the class asked for; the reader's reason is a part of the message.
      OSError: of the system.
      MemoryError: out of memory. Compare sizes that a file tells with its own first.

    >>> with told_as_damage("a.json", "no JSON", "write it again"):
    ...     json.loads("{")
    Traceback (most recent call last):
    ccssl_tf.runs.errors.CorruptArtifactError: a.json: no JSON (Expecting property name ...
    """
    try:
        yield
    except (CcsslError, MemoryError):
        raise
    except Exception as raised:
        if isinstance(raised, OSError) and raised.errno not in _OF_THE_CONTENT:
            raise
        raise error(f"{path}: {what} ({reason_of(raised)}); {advice}") from raised


def reason_of(error: BaseException) -> str:
    """Returns the first line of someone else's error, 200 characters at most, or its class where it
    says nothing.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]
