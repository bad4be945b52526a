import pytest

from ccssl_tf.runs.errors import InputError
from data_prep.faults import Faults, shown


def test_the_first_faults_and_their_number_are_told():
    faults = Faults("list.csv")
    faults.refuse()
    faults.add("line 1: no label")
    with pytest.raises(InputError, match="^list.csv: line 1: no label; mend them$"):
        faults.refuse()
    for line in range(2, 26):
        faults.add(f"line {line}: no label")
    with pytest.raises(InputError) as error:
        faults.refuse("label all")
    text = str(error.value)
    assert text.startswith("list.csv: 25 faults: line 1: no label; line 2")
    assert text.endswith("line 20: no label; and 5 more; label all") and "line 21" not in text


def test_names_that_are_shown():
    assert shown(["a", "b"]) == "a, b"
    assert shown([str(number) for number in range(22)]).endswith("19 and 2 more")
