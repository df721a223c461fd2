from tasks.profile import profile_of
from tests.samples import split_of


def test_a_profile_finds_duplicates_within_and_between_splits() -> None:
    train, test = split_of([0, 1, 1], name="train"), split_of([0, 2], name="test")
    same = bytes(32)
    train = train.model_copy(update={"sha256": (same, same, b"b" * 32)})
    test = test.model_copy(update={"sha256": (same, b"c" * 32)})
    found = profile_of([train, test])
    assert found.counts == {"train": (1, 2, 0), "test": (1, 0, 1)}
    assert found.duplicates_within == {"train": 1, "test": 0}
    assert (found.duplicates_between, found.label_conflicts) == (1, 1)
    assert found.examples[0].places == (("train", 0, 0), ("train", 1, 1), ("test", 0, 0))
