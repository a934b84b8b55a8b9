"""What the page's figures are drawn from."""

import pytest

from concord.report.figures import Axis, Interval


@pytest.mark.parametrize("end", [None, float("nan")])
def test_without_an_interval_there_is_only_the_dot(end: float | None) -> None:
    axis = Axis.over([0.0, 1.0])
    assert Interval.on(axis, 0.5, end, end) == Interval(axis.at(0.5), 0, axis.at(0.5))
    whole = Interval.on(axis, 0.5, 0.25, 0.75)
    assert whole.left < whole.dot < whole.left + whole.width
