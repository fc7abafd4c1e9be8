"""More threads than processors, so that some wait without one."""

import threading

import numba
import numpy as np
import pytest

from recctl.kernels.meeting import FREE, announce, hear, meet, new_board


@numba.njit("void(int64, int64, int64, int64[::1], int64[:, ::1])", nogil=True)
def sum_up(rank, size, n_rounds, board, sums):
    """In every round each writes a number, and sums up those of all."""
    for at in range(n_rounds):
        board[FREE + rank] = at * (rank + 1)
        meet(board, size)
        sums[rank, at] = board[FREE : FREE + size].sum()
        meet(board, size)


@numba.njit("void(int64, int64[::1], int64[::1])", nogil=True)
def listen(n, board, heard):
    for at in range(n):
        hear(board, at + 1)
        heard[at] = board[FREE + at]


@numba.njit("void(int64[::1])", nogil=True)
def speak(board):
    announce(board)


def start(*calls):
    threads = [threading.Thread(target=function, args=arguments) for function, *arguments in calls]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize("size", [1, 2, 5])
def test_who_meets_sees_what_all_wrote_before(size):
    board, sums, n = new_board(size), np.zeros((size, 500), np.int64), 500
    for thread in start(*[(sum_up, rank, size, n, board, sums) for rank in range(size)]):
        thread.join(timeout=60)
    expected = np.arange(n) * (size * (size + 1) // 2)
    np.testing.assert_array_equal(sums, np.tile(expected, (size, 1)))


def test_who_hears_sees_what_was_written_before():
    board, heard = new_board(100), np.zeros((3, 100), np.int64)
    threads = start(*[(listen, 100, board, heard[row]) for row in range(3)])
    for at in range(100):
        board[FREE + at] = at + 7
        speak(board)
    for thread in threads:
        thread.join(timeout=60)
    np.testing.assert_array_equal(heard, np.tile(np.arange(100) + 7, (3, 1)))
