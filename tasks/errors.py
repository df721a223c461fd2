"""Every failure that a user can cause, by name.

MnistError                     whatever this project refuses, in one line that says what to do
├── InputError (ValueError)    an option that can't be used
│   ├── RecipeError            a recipe that is unknown, unreadable or half-specified
│   ├── DatasetError           a data set that is unknown, unreadable or half-specified
│   ├── RootError              a folder that is no root, or holds what is not ours
│   ├── RunError               a run or a champion that is unknown, or can't be compared
│   ├── SettingsError          a file of settings that another account can have written, or a home that can't be
│   └── PictureError           a picture that can't be read, or is empty
├── UnreadableError (ValueError) pictures that were left out: exit code 1, after the others have been shown
├── DivergedError (ArithmeticError) a training or a model whose numbers are not finite
├── DownloadError (OSError)    no mirror gave the archive whose size and hash are pinned
├── DecodeError (ValueError)   an archive that does not hold what it should
│   ├── ArchiveError           not a whole gzip file
│   ├── IdxFormatError         not a whole IDX file
│   └── ContentError           a sound IDX file, but not the data set's: type, rank, shape, count or label
├── StorageError (OSError)     a file under the root that can't be written or read, or is not what its record says
│   └── ChecksumError          a document whose bytes are not those that were sealed
├── VerificationError (RuntimeError) a run of which a file is gone or altered: exit code 1, found by `mnist verify`
├── WorkerError (RuntimeError) a process that trained or evaluated has died
├── ServerError (RuntimeError) no Prefect server answers
├── OutputError (OSError)      standard output that can't be written: the result has not reached who asked for it
└── GateError (RuntimeError)   a model that does not pass: exit code 1, after the evidence has been published
"""

from collections.abc import Iterator

from tasks.safety.plain_text import printable


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what has led to it, one after the other."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


class MnistError(Exception):
    """What this project refuses. Its text is one line for the user, without secrets; `exit_code` is the command's."""

    exit_code = 2

    def __init__(self, *args: object) -> None:
        from tasks.safety.redaction import redact  # noqa: PLC0415  # a command that does not fail has no use for it

        super().__init__(*(printable(redact(one), keep="\n") if isinstance(one, str) else one for one in args))


class InputError(MnistError, ValueError):
    """An option that can't be used."""


class RecipeError(InputError):
    """A recipe that is unknown, unreadable or half-specified."""


class DatasetError(InputError):
    """A data set that is unknown, unreadable or half-specified."""


class RootError(InputError):
    """A folder that is no root, or can't become one, since it holds what is not ours."""


class RunError(InputError):
    """A run or a champion that is unknown, or can't be compared."""


class SettingsError(InputError):
    """A file of settings that another account can have written, or a home of Prefect's that can't be."""


class PictureError(InputError):
    """A picture that can't be read, or is empty."""


class UnreadableError(MnistError, ValueError):
    """Pictures that were left out."""

    exit_code = 1


class DivergedError(MnistError, ArithmeticError):
    """A training or a model whose numbers are not finite."""


class DownloadError(MnistError, OSError):
    """No mirror gave the archive whose size and hash are pinned."""


class DecodeError(MnistError, ValueError):
    """An archive that does not hold what it should."""


class ArchiveError(DecodeError):
    """Not a whole gzip file."""


class IdxFormatError(DecodeError):
    """Not a whole IDX file."""


class ContentError(DecodeError):
    """A sound IDX file, but not the data set's: type, rank, shape, count or label."""


class StorageError(MnistError, OSError):
    """A file under the root that can't be written or read, or is not what its record says."""


class ChecksumError(StorageError):
    """A document whose bytes are not those that were sealed; `path` says where it lies, if that is known."""

    path = ""


class VerificationError(MnistError, RuntimeError):
    """A run of which a file is gone or altered."""

    exit_code = 1


class WorkerError(MnistError, RuntimeError):
    """A process that trained or evaluated has died."""


class ServerError(MnistError, RuntimeError):
    """No Prefect server answers."""


class OutputError(MnistError, OSError):
    """Standard output that can't be written."""


class GateError(MnistError, RuntimeError):
    """A model that does not pass. `result` is what the run leaves all the same."""

    exit_code = 1

    def __init__(self, text: str, result: object = None) -> None:
        super().__init__(text)
        self.result = result


def first_line(error: BaseException) -> str:
    """The first line of what a library says."""
    return next(iter(str(error).splitlines()), type(error).__name__)
