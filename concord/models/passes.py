"""Passes: how many views of a batch go through a network together, whatever the batch."""

import sys


class Passes:
    """The most views in one pass; an embedder has them as `passes`, and keeps to them.

    More cost memory and gain nothing. Where memory runs out all the same, they become fewer.
    """

    def __init__(self, most: int = sys.maxsize) -> None:
        self.most = most

    def halve(self, views: int) -> bool:
        """Take half as many of an input with `views` views; False where one was too many."""
        before = min(self.most, views)
        if before > 1:
            self.most = before // 2
        return before > 1
