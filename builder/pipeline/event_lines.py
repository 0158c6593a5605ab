"""Events as JSON lines for programs that watch a run: one object a line (docs/schema/event.schema.json)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from builder.pipeline.events import Event, State


class EventLine(BaseModel):
    """One line: something that happened to a subject. The first and last line of a run have stage `run`."""

    model_config = ConfigDict(
        defer_build=True, extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True
    )

    schema_: Literal[1] = Field(default=1, alias="schema")
    run: str
    """The same for all lines of a run, another one for each run."""
    time: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
    """UTC, by the clock of the machine."""
    elapsed: Annotated[float, Field(ge=0)]
    """Seconds since the run started; no change of the clock changes it."""
    stage: Annotated[str, Field(pattern="^[a-z]+$")]
    """run, fetch, pin, buildroot, schedule, build, qualify, sign, publish …: later versions may add some."""
    subject: str
    """A cell's or package's id, a file name, a chroot, <distribution>/<arch>."""
    state: State
    text: str = ""
    """For people."""
    seconds: float | None = None
    """Wall time, with done and failed."""
    expected: float | None = None
    """Seconds that it is thought to take, with queued and started."""
    log: str | None = None
    """What is being written now, with log; it goes away with the build."""
    code: str | None = None
    """Class of the failure, with failed: the codes of the user guide."""
    exit_code: int | None = None
    """With the last line of a run."""


def event_line(event: Event, *, run: str, time: str, elapsed: float, exit_code: int | None = None) -> str:
    """An event as one line, without its end."""
    line = EventLine.model_validate(
        {
            "run": run,
            "time": time,
            "elapsed": round(elapsed, 3),
            "stage": event.stage,
            "subject": event.subject,
            "state": event.state,
            "text": event.text,
            "seconds": None if event.seconds is None else round(event.seconds, 3),
            "expected": event.expected,
            "log": str(event.log) if event.log else None,
            "code": event.code,
            "exit_code": exit_code,
        }
    )
    return line.model_dump_json(by_alias=True, exclude_none=True)


def event_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a line."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **EventLine.model_json_schema(by_alias=True)}
