import pytest

from flows.workers import shares


@pytest.mark.parametrize(
    ("trainings", "cores", "processes", "threads"),
    [(2, 1, 1, 1), (2, 2, 2, 1), (2, 3, 2, 1), (2, 4, 2, 2), (2, 8, 2, 4), (1, 8, 1, 8), (10, 4, 4, 1), (3, 8, 3, 2)],
)
def test_no_two_trainings_fight_over_a_core(trainings: int, cores: int, processes: int, threads: int) -> None:
    assert shares(trainings, cores) == (processes, threads)
    assert processes * threads <= max(cores, 1)
