"""What the sections of the configuration are made of: their base, units, paths and names."""

import re
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from concord.remote.urls import Place, Url, is_address, place
from concord.scores.tasks import TASK_NAMES, meant_task


def _holds_number(annotation: Any) -> bool:
    return annotation in (int, float) or any(map(_holds_number, get_args(annotation)))


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        """A section whose keys are all commented out is null in YAML."""
        return {} if value is None else value

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads yes, on and true alike; as a number they would pass for 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and _holds_number(annotation):
            raise ValueError("Input should be a number")
        return value


def _unit(unit: str) -> Any:
    return Field(json_schema_extra={"unit": unit})


ClipCount = Annotated[int, _unit("clips")]
Frames = Annotated[int, _unit("frames")]
Hertz = Annotated[int, _unit("Hz")]
Level = Annotated[float, _unit("dBFS")]
Megabytes = Annotated[int, _unit("MB")]
Pixels = Annotated[int, _unit("pixels")]
Processes = Annotated[int, _unit("processes")]
Rate = Annotated[float, _unit("frames per second")]
Samples = Annotated[int, _unit("samples")]
Hours = Annotated[float, _unit("hours")]
Seconds = Annotated[float, _unit("seconds")]
Probability = Annotated[float, _unit("probability")]
Objects = Annotated[int, _unit("objects")]
Tries = Annotated[int, _unit("tries")]
Share = Annotated[float, _unit("share, 0 to 1")]


def _path(value: Any) -> Any:
    """Refuse what cannot name a file; ~ is the home folder."""
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("Input should be the path of a file or folder")
    if is_address(str(value)):
        raise ValueError("Input should be the path of a local file or folder, not an address")
    try:
        return Path(value).expanduser()
    except RuntimeError:  # ~name of a user this machine does not know
        return Path(value)


def _place(value: Any) -> Any:
    """A path, or the address of objects."""
    if isinstance(value, str) and is_address(value) and "\0" not in value:
        return place(value)
    return _path(value)


def _address(value: Any) -> Any:
    """The address of objects, and no path."""
    if not isinstance(value, str) or not is_address(value):
        raise ValueError("Input should be an address such as s3://bucket/prefix")
    return Url(value)


def endpoint(value: str | None) -> str | None:
    """Refuse addresses of servers that hold credentials, which would end in the provenance."""
    if value is None:
        return None
    if not re.fullmatch(r"https?://[^/@?#\s]+(/[^@?#\s]*)?", value):
        raise ValueError(
            "Input should be the address of a server, https://host or https://host:port, without "
            "credentials: these belong into the environment"
        )
    return value


def outputs(path: Path) -> Path:
    """Refuse paths that Snakemake would take for wildcards, or ffmpeg for an address."""
    if set("{}") & set(str(path)):
        raise ValueError(
            "Input should be a path without { and }, which Snakemake reads its own way"
        )
    if not path.is_absolute() and ":" in "".join(path.parts[:1]):
        raise ValueError("Input should have no : in its first part, or else be an absolute path")
    return path


def listed(value: Any) -> Any:
    """Accept one value where a list is meant."""
    return value if isinstance(value, list | tuple) else [value]


def once(values: list[Any]) -> list[Any]:
    """Refuse a list that holds something twice."""
    if repeated := sorted({str(value) for value in values if values.count(value) > 1}):
        raise ValueError(f"Input should name everything once; repeated: {', '.join(repeated)}")
    return values


def _known_task(value: str) -> str:
    if value not in TASK_NAMES:
        raise ValueError(f"Input should be one of {', '.join(TASK_NAMES)}{meant_task(value)}")
    return value


Task = Annotated[
    str, AfterValidator(_known_task), Field(json_schema_extra={"enum": list(TASK_NAMES)})
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
File = Annotated[Path, BeforeValidator(_path, json_schema_input_type=Path)]
Address = Annotated[Url, BeforeValidator(_address, json_schema_input_type=str)]
AnyPlace = Annotated[Place, BeforeValidator(_place, json_schema_input_type=Path)]
Places = Annotated[
    list[AnyPlace],
    Field(min_length=1),
    AfterValidator(once),
    BeforeValidator(listed, json_schema_input_type=Path | list[Path]),
]
Names = Annotated[
    list[Name],
    Field(min_length=1),
    AfterValidator(once),
    BeforeValidator(listed, json_schema_input_type=Name | list[Name]),
]


def shorthand(key: str, section: type[Section], bare: Any) -> Any:
    """Accept a bare value of type `bare` where a section with `key` is meant."""

    def wrap(value: Any) -> Any:
        if value is None or isinstance(value, dict):
            return value
        return {key: value}

    return BeforeValidator(wrap, json_schema_input_type=bare | section)


def by_name(value: Any) -> Any:
    """Accept a name, or a list of names, where a mapping from name to options is meant."""
    if isinstance(value, dict):
        return {name: {} if options is None else options for name, options in value.items()}
    names = listed(value)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("Input should be a list of names, or name: {options}")
    return {name: {} for name in once(names)}
