"""The last resort: what nobody foresaw while a template was read hurts that template alone.

A mistake of this package is told like one of the template: in one line that names the file. But it says whose it is,
and the log holds the traceback. So the templates beside it stay, and nobody looks in the template for what is not
there.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airflow_enterprise_orch.errors import OrchestrationError, ProgramMistake, TemplateError
from airflow_enterprise_orch.value_stream.problems import Problem, template_error

PACKAGE = Path(__file__).parents[1]

log = logging.getLogger(__name__)


@contextmanager
def ours_if_unforeseen(file: str) -> Iterator[None]:
    """Let nothing but a :class:`TemplateError` of ``file`` leave the block.

    :param file: the template's name in messages.
    :raises ProgramMistake: for what nobody foresaw.
    """
    try:
        yield
    except TemplateError:
        raise
    except OrchestrationError as error:
        raise template_error([Problem(file, 1, 1, "template", " ".join(str(error).split()), "", "")]) from error
    except Exception as error:
        log.exception("%s: this package failed on the template, and that is no mistake of the template", file)
        raise program_mistake(file, error) from error


def program_mistake(file: str, error: Exception) -> ProgramMistake:
    """Return what a template is refused with when this package failed on it.

    Without the exception's own text: that can hold anything of the template, and is in the log.
    """
    what = f"this package failed on the template: {type(error).__name__} {_place(error)}"
    remedy = "that is our mistake and none of the template; report it with the traceback in the log"
    problem = Problem(file, 1, 1, "template", what.rstrip(), "", remedy)
    return ProgramMistake(str(problem), [problem])


def _place(error: Exception) -> str:
    """Return the last line of this package that the exception passed."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(PACKAGE) and path != Path(__file__):
            return f"in {path.relative_to(PACKAGE).as_posix()} line {frame.lineno}"
    return ""
