from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tasks.data.split_parquet import Split
from tasks.steps.profile_data import profile_of
from tests.support.samples import hashes, split_of

Drawn = list[tuple[int, int]]  # (number of the image's content, its label)
SPLITS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=20)


def of(name: str, images: Drawn) -> Split:
    changed = {"sha256": hashes(kind for kind, _ in images)}
    return split_of([label for _, label in images], name=name).model_copy(update=changed)


def test_a_profile_finds_duplicates_within_and_between_splits() -> None:
    found = profile_of([of("train", [(0, 0), (0, 1), (1, 1)]), of("test", [(0, 0), (2, 2)])])
    assert found.counts == {"train": (1, 2, 0), "test": (1, 0, 1)}
    assert found.duplicates_within == {"train": 1, "test": 0}
    assert (found.duplicates_between, found.label_conflicts) == (1, 1)
    assert found.examples[0].places == (("train", 0, 0), ("train", 1, 1), ("test", 0, 0))


@given(SPLITS, SPLITS)
def test_duplicate_counts_equal_those_of_a_brute_force_count(train: Drawn, test: Drawn) -> None:
    found = profile_of([of("train", train), of("test", test)])
    images = [
        (name, index, *one) for name, all_ in (("train", train), ("test", test)) for index, one in enumerate(all_)
    ]
    kinds = list(dict.fromkeys(kind for _, _, kind, _ in images))
    sets = [[one for one in images if one[2] == kind] for kind in kinds]
    repeated = [one for one in sets if len(one) > 1]
    for name, all_ in (("train", train), ("test", test)):
        assert found.duplicates_within[name] == len(all_) - len(Counter(kind for kind, _ in all_))
    assert found.duplicates_between == sum(len({name for name, *_ in one}) > 1 for one in sets)
    assert found.label_conflicts == sum(len({label for *_, label in one}) > 1 for one in sets)
    assert [one.places for one in found.examples] == [
        tuple((name, index, label) for name, index, _, label in one)[:12] for one in repeated
    ]
