"""What commands print: tables that fit a terminal and are whole in a file."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from concord.errors import printable

UNLIMITED = 100_000


def console(error: bool = False) -> Console:
    """A console; text that goes to a file or a pipe is not cut or wrapped."""
    stream = sys.stderr if error else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else UNLIMITED,
        highlight=False,
        soft_wrap=True,
    )


def say(text: str, style: str = "") -> None:
    """Print text as it is: no markup, no control characters from file names."""
    console().print(Text(printable(text), style=style))


def complain(problems: Sequence[str]) -> None:
    """Print mistakes to the standard error, in red."""
    out = console(error=True)
    for problem in problems:
        out.print(Text("error: ", style="bold red"), Text(printable(problem)), sep="")
    if len(problems) > 1:
        out.print(Text(f"{len(problems)} problems", style="red"))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under column names; None is left blank, numbers stand to the right."""
    rows = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numbers = rows and all(isinstance(row[index], int | float | None) for row in rows)
        table.add_column(
            column,
            justify="right" if numbers else "left",
            overflow="fold",
            no_wrap=index == 0,
        )
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console().print(table, soft_wrap=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value)).replace("\n", "\\n")
