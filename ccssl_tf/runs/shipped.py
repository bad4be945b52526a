"""The project's experiments/, which are at hand in any directory and also without a checkout."""

import os
import pathlib
import sysconfig


def located(path: str) -> str:
    """Returns `path` where there is such a file or it is none of experiments/; else that of the
    checkout this program runs from, or of what pip installed beside it.

        >>> located("mine.flags")
        'mine.flags'
    """
    if pathlib.PurePath(path).parts[:1] == ("experiments",) and not os.path.exists(path):
        checkout = pathlib.Path(__file__).resolve().parents[2]
        installed = pathlib.Path(sysconfig.get_path("data"), "share", "ccssl_tf")
        for directory in (checkout, installed):
            if (directory / path).is_file():
                return str(directory / path)
    return path
