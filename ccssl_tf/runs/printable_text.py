"""What a terminal is given: whatever a file is called, a line stays one line and does nothing else.

Names are bytes. They may hold control characters, or be no UTF-8, which Python keeps as surrogates
that no terminal takes. `print_safely` puts a stream that writes their escapes in the place of
standard output and errors: the one place that all lines go through.
"""

import io
import os
import sys

# Erases the terminal's line; whatever is printed may begin with it.
ERASE = "\x1b[2K"
_KEPT = frozenset("\n\t")


def escaped(text: str) -> str:
    r"""Returns `text` with the escapes of characters that cannot be printed.

    >>> print(escaped("caf\udce9: a\x1b[31mb"))
    caf\udce9: a\x1b[31mb
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in _KEPT else ascii(char)[1:-1] for char in text
    )


class PrintableText(io.TextIOWrapper):
    """A text stream of printable characters, lines and what moves the cursor in a line.

    The latter are `ERASE` at the beginning of what is written, a carriage return at its end, and
    what begins by going back, as other libraries' bars do.
    """

    def write(self, text: str) -> int:
        """Writes `escaped` text; returns the characters of `text`."""
        if text.startswith(("\r", "\b")):
            super().write(text)
            return len(text)
        erase, end = ERASE * text.startswith(ERASE), "\r" * text.endswith("\r")
        body = text[len(erase) : len(text) - len(end)]
        super().write(erase + escaped(body) + end)
        return len(text)


def print_safely():
    """Lets standard output and errors of this process be `PrintableText`; what their encoding lacks
    is escaped, too.
    """
    sys.stdout, sys.stderr = _printable(sys.stdout), _printable(sys.stderr)


def _printable(stream):
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # Closed, or somebody's own.
    encoding, line_buffering = stream.encoding, stream.line_buffering
    write_through = stream.write_through
    stream.flush()
    return PrintableText(
        stream.detach(),
        encoding,
        errors="backslashreplace",
        line_buffering=line_buffering,
        write_through=write_through,
    )


def ensure_utf8_names():
    """Starts this process anew in Python's UTF-8 mode where the locale would have names, flags and
    files be read in another encoding; what is printed keeps the terminal's.
    """
    if sys.getfilesystemencoding().lower() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace")
    os.execv(sys.executable, sys.orig_argv)
