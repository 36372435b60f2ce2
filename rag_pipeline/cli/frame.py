"""What all commands share: options before or after the command, one line for an error, exit codes."""

import functools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console

from rag_pipeline.errors import RagPipelineError, SettingsError
from rag_pipeline.project import Project

FINE, FAILED, WRONG_USE = 0, 1, 2


@dataclass(slots=True)
class Frame:
    """Where a command reads its settings and writes its answer."""

    config: str | None = None
    is_json: bool = False

    @property
    def console(self) -> Console:
        """For people: standard output, or standard error where that is for JSON."""
        return Console(stderr=self.is_json, highlight=False, soft_wrap=True)

    def project(self) -> Project:
        """The project of the settings."""
        return Project.load(self.config, on_wait=say)

    def answer(self, values: Mapping[str, Any] | list[Any]) -> None:
        """The JSON alone on standard output."""
        click.echo(json.dumps(values, ensure_ascii=False, indent=2))


def say(message: str) -> None:
    """One line for people on standard error."""
    click.echo(message, err=True)


def shared_options(command: Callable[..., int]) -> Callable[..., None]:
    """``--config`` and ``--json`` after the command, over those before it; our errors as one line and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: Any, config: str | None, is_json: bool, **kwargs: Any) -> None:
        context = click.get_current_context()
        frame: Frame = context.obj or Frame()
        frame = Frame(config=config or frame.config, is_json=is_json or frame.is_json)
        try:
            code = command(frame, *args, **kwargs)
        except SettingsError as error:
            say(f"settings: {error}")
            code = WRONG_USE
        except RagPipelineError as error:
            say(f"error: {error}")
            code = FAILED
        except KeyboardInterrupt:
            say("interrupted; the next run goes on from here")
            code = FAILED
        sys.stdout.flush()
        context.exit(code or FINE)

    with_json = click.option("--json", "is_json", is_flag=True, help="The answer as JSON, alone on standard output.")
    with_config = click.option(
        "--config", metavar="FILE", default=None, help="Settings file; default RAG_CONFIG or ./rag_pipeline.yaml."
    )
    return with_config(with_json(wrapped))
