"""The one exception for mistakes a user can mend."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """One or more mistakes in the configuration or the inputs, shown without a traceback.

    Each argument is one mistake. Its text names the file or configuration key, what was found,
    what was expected and what to do.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class MachineError(UserError):
    """The machine, not a clip, is at fault: a full disk, a program that does not start."""


class DamagedError(UserError):
    """A file of the results that is there and does not hold what was written."""

    def __init__(self, path: Path, problem: object) -> None:
        self.path, self.problem = path, shortened(str(problem))
        super().__init__(f"{path}: damaged ({self.problem}); delete it and run again")


def shortened(error: BaseException | str, length: int = 300) -> str:
    """The first `length` characters of an error, on one line."""
    return " ".join(str(error).split())[:length]


def printable(text: str) -> str:
    """Text with control characters (but line ends) written as escapes, for terminals and logs."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`; did you mean X?` for the option closest to `word`, or nothing if none is close."""
    names = {option.lower(): option for option in options}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f"; did you mean {names[close[0]]!r}?" if close else ""
