"""The catalogue's word for what a model was run with is what the tests run it with."""

import pytest
from tried_models import RANDOM, SMALL

from concord.models.catalogue import entries


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("open_clip", dict.fromkeys(RANDOM, "random")),
        ("transformers", dict.fromkeys(SMALL, "small")),
    ],
)
def test_named_models_are_tried_as_the_catalogue_says(backend: str, expected: dict) -> None:
    """Those in no list never ran; a family's own entry has no architecture to run."""
    named = [e for e in entries().values() if e.backend == backend and e.architecture]
    assert {e.name: e.tried for e in named} == {e.name: "never" for e in named} | expected
    assert set(expected) <= {entry.name for entry in named}


def test_a_small_checkpoint_is_of_the_models_architecture() -> None:
    for name, kind in SMALL.items():
        assert kind.removesuffix("_fused") == entries()[name].architecture
