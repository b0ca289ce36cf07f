"""The best way to give each row a column of its own. In goes what each pair gains, out comes the column of each row (the Hungarian method)."""

from __future__ import annotations

from collections.abc import Sequence


def assigned(gains: Sequence[Sequence[float]]) -> list[int]:
    """The column of each row, no two rows the same, with the largest sum of gains.

    Args:
        gains: R rows of C numbers, C at least R.
    """
    rows, columns = len(gains), len(gains[0])
    of_row, of_column = [0.0] * (rows + 1), [0.0] * (columns + 1)  # prices
    owner = [0] * (columns + 1)  # of each column, counted from 1; column 0 is where a row starts
    for row in range(1, rows + 1):
        owner[0], column = row, 0
        cheapest, before = [float("inf")] * (columns + 1), [0] * (columns + 1)
        done = [False] * (columns + 1)
        while owner[column]:
            done[column] = True
            for other in range(1, columns + 1):
                if done[other]:
                    continue
                cost = -gains[owner[column] - 1][other - 1] - of_row[owner[column]] - of_column[other]
                if cost < cheapest[other]:
                    cheapest[other], before[other] = cost, column
            following = min((c for c in range(1, columns + 1) if not done[c]), key=lambda c: cheapest[c])
            step = cheapest[following]
            for other in range(columns + 1):
                if done[other]:
                    of_row[owner[other]] += step
                    of_column[other] -= step
                else:
                    cheapest[other] -= step
            column = following
        while column:
            owner[column] = owner[before[column]]
            column = before[column]
    given = {owner[column] - 1: column - 1 for column in range(1, columns + 1) if owner[column]}
    return [given[row] for row in range(rows)]
