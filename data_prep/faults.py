"""All that is wrong with a source, told at once: the first of it, and how much there is."""

from ccssl_tf.runs.errors import InputError

SHOWN = 20


class Faults:
    """The faults of one source, of which the first are kept.

    >>> faults = Faults("list.csv")
    >>> faults.add("line 3: no label")
    >>> faults.count
    1
    """

    def __init__(self, source: str):
        """Args: source: of which they are, as messages begin."""
        self._source = source
        self._shown: list[str] = []
        self.count = 0

    def add(self, fault: str):
        """Notes one; it says where in the source it is."""
        self.count += 1
        if len(self._shown) < SHOWN:
            self._shown.append(fault)

    def refuse(self, advice: str = "mend them"):
        """Raises InputError with the first of them, if there are any, and what is to be done."""
        if not self.count:
            return
        more = f"; and {self.count - SHOWN} more" if self.count > SHOWN else ""
        how_many = f"{self.count} faults: " if self.count > 1 else ""
        raise InputError(f"{self._source}: {how_many}{'; '.join(self._shown)}{more}; {advice}")


def shown(names: list[str]) -> str:
    """Returns the first of some names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
