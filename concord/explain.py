"""Turns pydantic's errors into sentences: the key as written, what was found, what was expected."""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from concord.config import Config
from concord.config_fields import Section
from concord.errors import did_you_mean

Location = tuple[int | str, ...]


def written(location: Location, raw: Any) -> Location:
    """The keys of an error's location that the user wrote: a shorthand has fewer levels.

    Positions in lists are left out, since the value that was found says more.
    """
    path: list[int | str] = []
    for part in location:
        if not isinstance(raw, dict) or part not in raw:
            break
        raw = raw[part]
        path.append(part)
    return tuple(path)


def explain(error: ErrorDetails, raw: Any) -> str:
    """One error of a validation of `raw`, in one line."""
    location, kind = error["loc"], error["type"]
    path = written(location, raw)
    if kind == "missing" and isinstance(location[-1], str):
        return f"{dotted((*path, location[-1]))}: missing; expected {_meaning(location)}"
    if kind == "extra_forbidden":
        return f"{dotted(path)}: unknown key{_where_it_belongs(location)}"
    expected = _expected(error)
    meaning = _meaning(location)
    if meaning not in expected and kind != "literal_error" and "[key]" not in location:
        expected += f" ({meaning})"
    return f"{dotted(path) or 'the configuration'}: found {shown(error['input'])}, {expected}"


def shown(value: Any) -> str:
    """A value as it stands in YAML, shortened."""
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = re.sub(r"://[^/@\s]*@", "://***@", text)  # a password in an address
    return text if len(text) <= 60 else text[:57] + "..."


def dotted(location: Location) -> str:
    """A location as a key path, such as collections.kling.path."""
    return ".".join(map(str, location))


def _expected(error: ErrorDetails) -> str:
    kind, location = error["type"], error["loc"]
    if "[key]" in location and kind == "string_type":
        return "expected a text as name: write it in quotes"
    if kind == "string_pattern_mismatch" and location[-1] == "sha256":
        return "expected 64 hexadecimal digits"
    if kind == "string_pattern_mismatch":
        return (
            "expected a name that can stand in a file name: letters A-Z and a-z, digits, _ . -, "
            "with a letter or digit first"
        )
    if kind == "missing":
        return "expected one more in this list"
    if kind == "too_short":
        return "expected at least one"
    if kind in ("model_type", "dict_type"):
        section = _section_at(location)
        return f"expected {'keys ' + ', '.join(section.model_fields) if section else 'keys'}"
    message = error["msg"].removeprefix("Value error, ")
    for prefix in ("Input should ", "String should ", "List should ", "Field "):
        message = message.removeprefix(prefix)
    message = message.removeprefix("be ").split(", unable to parse")[0]
    message = message.replace("True, False", "true, false")
    guess = ""
    if kind == "literal_error":
        words = error["ctx"]["expected"].replace(" or ", ", ").split(", ")
        guess = did_you_mean(str(error["input"]), [word.strip("'") for word in words])
    return f"expected {message}{guess}"


def _where_it_belongs(location: Location) -> str:
    """What to do about an unknown key: the key that was meant, its right place, or all keys."""
    key = str(location[-1])
    section = _section_at(location[:-1])
    known: Collection[str] = section.model_fields if section else ()
    if guess := did_you_mean(key, known):
        return guess
    if places := [place for place, name in _keys(Config) if name == key.lower()]:
        return f"; it belongs elsewhere: {' or '.join(places)}"
    return f"; the keys here are {', '.join(known)}"


def _keys(section: type[Section], path: str = "") -> Iterator[tuple[str, str]]:
    """(key path, key) of every key below a section; NAME stands for the user's names."""
    for name, field in section.model_fields.items():
        yield path + name, name
        if inner := _section_in(field.annotation):
            infix = "NAME." if get_origin(field.annotation) is dict else ""
            yield from _keys(inner, f"{path}{name}.{infix}")


def _fields(location: Location) -> Iterator[tuple[FieldInfo, bool]]:
    """The fields a location leads through, and whether it goes on inside one of its names."""
    section: type[Section] | None = Config
    parts = iter(location)
    for part in parts:
        field = section.model_fields.get(str(part)) if section else None
        if field is None:
            return
        section = _section_in(field.annotation)
        is_mapping = get_origin(field.annotation) is dict
        entered = not is_mapping or next(parts, None) is not None
        yield field, entered


def _section_at(location: Location) -> type[Section] | None:
    """The section whose keys stand at a location."""
    if not location:
        return Config
    last = list(_fields(location))[-1:]
    return _section_in(last[0][0].annotation) if last and last[0][1] else None


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that a type holds, if any: itself, optional or as the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def _meaning(location: Location) -> str:
    """Description and unit of the last key of a location."""
    fields = list(_fields(location))
    if not fields:
        return ""
    field = fields[-1][0]
    extra = field.json_schema_extra
    unit = extra.get("unit") if isinstance(extra, dict) else None
    return f"{field.description}; unit: {unit}" if unit else field.description or ""
