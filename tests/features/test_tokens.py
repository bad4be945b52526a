"""How many tokens stand in front of the patches of published networks."""

import pytest

from ccssl_tf.features.tokens import prefix_of
from ccssl_tf.runs.errors import InputError


@pytest.mark.parametrize(
    ("name", "tokens", "size", "prefix"),
    [
        ("ViT-B/16", 197, 224, 1),
        ("ViT-B/16 at 384", 577, 384, 1),
        ("ViT-B/32", 50, 224, 1),
        ("DeiT distilled", 198, 224, 2),
        ("DINOv2 ViT-B/14", 257, 224, 1),
        ("DINOv2 at 518", 1370, 518, 1),
        ("DINOv2 with registers", 261, 224, 5),
        ("SigLIP B/16", 196, 224, 0),
        ("ViT-S/8 of DINO", 785, 224, 1),
    ],
)
def test_published_networks(name, tokens, size, prefix):
    assert prefix_of(tokens, size, None) == prefix, name


def test_what_is_given_must_leave_a_square():
    assert prefix_of(22, 8, 6) == 6
    for given in (5, 22, 30):
        with pytest.raises(InputError, match=f"--prefix_tokens={given}: the output has 22 tokens"):
            prefix_of(22, 8, given)
    with pytest.raises(InputError, match="none of the usual numbers may stand"):
        prefix_of(23, 8, None)
