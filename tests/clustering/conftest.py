"""What fits tell, for tests that read it."""

import pytest

from ccssl_tf.clustering.messages import printed


@pytest.fixture
def told(capsys):
    """Returns a function that gives all lines that fits have told since it was last called."""
    with printed(True):
        yield lambda: capsys.readouterr().out
