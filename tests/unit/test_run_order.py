"""How tests are given to two processes: the slow rooms to one of them, which begins with them."""

from __future__ import annotations

import pytest

from tests.conftest import LAST, piece_of, room_of, room_rank

SLOW = ("tests/e2e/test_merging.py::test_x[a::b]", "tests/packaging/test_wheel.py::test_y")
FAST = ("tests/unit/test_run_order.py::test_x", "tests/unit/test_run_order.py::test_y[e2e]", "tests/test_z.py::test_z")


def test_the_slow_rooms_are_one_piece_and_other_tests_pieces_of_their_own() -> None:
    assert {piece_of(test) for test in SLOW} == {"slow"}
    assert len({piece_of(test) for test in FAST} | {"slow"}) == len(FAST) + 1


@pytest.mark.parametrize(("beside", "slow_first"), [(True, True), (False, False)])
def test_slow_rooms_come_first_beside_another_process_and_last_alone(beside: bool, slow_first: bool) -> None:
    slow = [room_rank(room, beside) for room in LAST]
    fast = [room_rank(room_of(test), beside) for test in FAST]
    assert (max(slow) < min(fast)) if slow_first else (min(slow) > max(fast))
