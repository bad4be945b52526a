"""The errors a user can cause or meet, each with the exit code its command ends with."""


class CcsslError(ValueError):
    """Base of the errors that are reported in one line, without a traceback."""

    exit_code = 2


class FlagError(CcsslError):
    """A flag has a value that can never be right."""

    exit_code = 1


class InputError(CcsslError):
    """Bad input or configuration: the message names the file or flag, what was found and what to
    do.
    """

    exit_code = 2


class CorruptArtifactError(CcsslError):
    """A file is damaged, incomplete or, where this project wrote it, of another version."""

    exit_code = 3


class ResourceError(CcsslError):
    """Disk, permission or memory."""

    exit_code = 4


class Interrupted(CcsslError):
    """A signal stopped the work after a complete checkpoint; the same command continues it."""

    exit_code = 75
