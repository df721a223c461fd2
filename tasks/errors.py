"""Errors that this project reports to the user, as one tree.

MnistError                     base class; its message is one line that says what to do
├── InputError (ValueError)    an invalid option
│   ├── RecipeError            an unknown, unreadable or incomplete recipe
│   ├── DatasetError           an unknown, unreadable or incomplete dataset
│   ├── RootError              a folder that is not a root, or that holds unrelated files
│   ├── RunError               an unknown run or champion, or runs that cannot be compared
│   │   └── NothingFoundError  (RootError) no such run, study or champion under the root
│   ├── SettingsError          a settings file that another account may have written, or an unusable Prefect home
│   └── PictureError           an unreadable or empty image
│       └── UnknownFormatError a file that is not an image of a known format
├── UnreadableError (ValueError) images that were skipped: exit code 1, after the other images have been shown
├── DivergedError (ArithmeticError) a training or a model with values that are not finite
├── DownloadError (OSError)    no mirror served the archive with the pinned size and hash
├── DecodeError (ValueError)   an archive with unexpected content
│   ├── ArchiveError           an incomplete or corrupt gzip or zip file
│   ├── IdxFormatError         an incomplete or malformed IDX file
│   └── ContentError           a valid IDX file that does not match the dataset: type, rank, shape, count or label
├── StorageError (OSError)     a file under the root that cannot be written or read, or that differs from its record
│   └── ChecksumError          a document that does not match its checksum
├── VerificationError (RuntimeError) a run with a missing or altered file: exit code 1, raised by `mnist verify`
├── DiagnosisError (RuntimeError) an installation that failed a check: exit code 1, raised by `mnist doctor`
├── WorkerError (RuntimeError) a worker process that failed or died, or a cluster that can't be used
├── ServerError (RuntimeError) a Prefect server, its credential or a webhook that can't be used
├── OutputError (OSError)      standard output that cannot be written: the result did not reach its reader
└── GateError (RuntimeError)   a model that fails its gate: exit code 1, after the evidence has been published
"""

import re
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from tasks.safety.plain_text import printable

P = ParamSpec("P")
T = TypeVar("T")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, then the chain of errors that led to it."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


class MnistError(Exception):
    """Base class of the errors that this project reports to the user.

    The message is for the user and holds no secrets. `exit_code` is the exit code of the command.
    """

    exit_code = 2

    def __init__(self, *args: object) -> None:
        from tasks.safety.redaction import redact  # noqa: PLC0415  # needed only when a command fails

        super().__init__(*(printable(redact(one), keep="\n") if isinstance(one, str) else one for one in args))

    @property
    def fault_lines(self) -> tuple[str, ...]:
        """The faults that the error reports, each to be shown on a line of its own."""
        return (str(self),)


class InputError(MnistError, ValueError):
    """One or more invalid options; each argument of the error describes one fault."""

    @property
    def fault_lines(self) -> tuple[str, ...]:
        """The faults that the error reports."""
        return tuple(map(str, self.args))

    def __str__(self) -> str:
        return "\n".join(self.fault_lines)


class RecipeError(InputError):
    """An unknown, unreadable or incomplete recipe."""


class DatasetError(InputError):
    """An unknown, unreadable or incomplete dataset."""


class RootError(InputError):
    """A folder that is not a root and cannot become a root, because it holds unrelated files."""


class RunError(InputError):
    """An unknown run or champion, or runs that cannot be compared."""


class NothingFoundError(RunError, RootError):
    """A run, study or champion that is not under the root."""


class SettingsError(InputError):
    """A settings file that another account may have written, or an unusable Prefect home."""


class PictureError(InputError):
    """An unreadable or empty image."""


class UnknownFormatError(PictureError):
    """A file that is not an image of a known format."""


class UnreadableError(MnistError, ValueError):
    """Images that were skipped."""

    exit_code = 1


class DivergedError(MnistError, ArithmeticError):
    """A training or a model with values that are not finite."""


class DownloadError(MnistError, OSError):
    """No mirror served the archive with the pinned size and hash."""


class DecodeError(MnistError, ValueError):
    """An archive with unexpected content."""


class ArchiveError(DecodeError):
    """An incomplete or corrupt gzip or zip file."""


class IdxFormatError(DecodeError):
    """An incomplete or malformed IDX file."""


class ContentError(DecodeError):
    """A valid IDX file that does not match the dataset: type, rank, shape, count or label."""


class StorageError(MnistError, OSError):
    """A file under the root that cannot be written or read, or that differs from its record."""


class ChecksumError(StorageError):
    """A document that does not match its checksum; `path` is its location, if known."""

    path = ""


class VerificationError(MnistError, RuntimeError):
    """A run with a missing or altered file."""

    exit_code = 1


class DiagnosisError(MnistError, RuntimeError):
    """An installation that failed a check of `mnist doctor`."""

    exit_code = 1


class WorkerError(MnistError, RuntimeError):
    """A worker process that failed or died, or a cluster that can't be used."""


class ServerError(MnistError, RuntimeError):
    """A Prefect server, its credential or a webhook that can't be used."""


class OutputError(MnistError, OSError):
    """Standard output that cannot be written."""


class GateError(MnistError, RuntimeError):
    """A model that fails its gate; `result` is what the run produced nevertheless."""

    exit_code = 1

    def __init__(self, text: str, result: object = None) -> None:
        super().__init__(text)
        self.result = result


class Checks:
    """Checks of user input, all of which run before the faults that they found are raised together."""

    def __init__(self) -> None:
        self.errors: list[MnistError] = []

    def run(self, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return the result of a check, or keep its error and return None."""
        try:
            return check(*args, **kwargs)
        except (InputError, StorageError) as error:
            self.errors.append(error)
            return None

    def raise_faults(self, error_type: type[InputError] = InputError) -> None:
        """Raise the error of the only check that failed, or one error with the faults of all failed checks.

        Raises:
            MnistError: If a check failed.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if faults := dict.fromkeys(fault for error in self.errors for fault in error.fault_lines):
            raise error_type(*faults)


_EXCEPTION = re.compile(r"[\w.]+(Error|Exception)\b")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if the message is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def describe_system_error(error: OSError) -> str:
    """Return one line about an error of the system, with the file that it is about."""
    if "temporary directory" in str(error):  # of `tempfile`
        return f"the system: {error.strerror or error}; make room, or set TMPDIR to a folder that has some"
    if isinstance(error, FileNotFoundError) and error.filename is None:  # of `os.getcwd`
        return "the current folder was removed; change to another folder"
    return f"{error.filename or 'the system'}: {error.strerror or error}"


def last_error(text: str) -> str | None:
    """Return the last line of a text that starts with the name of an exception, as the end of a traceback does."""
    lines = (line.strip() for line in reversed(text.splitlines()))
    return next((line for line in lines if _EXCEPTION.match(line)), None)
