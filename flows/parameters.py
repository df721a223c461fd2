"""Parameters of the flow that no recipe or data set checks. Apart from the command's options, which must import at once."""

from pydantic import TypeAdapter, ValidationError

from tasks.dataset import Name
from tasks.errors import InputError
from tasks.toml import short


def flag(name: str, value: object) -> bool:
    """A parameter that is true or false.

    Raises:
        InputError: it is neither.
    """
    if isinstance(value, bool):
        return value
    raise InputError(f"{name} must be true or false, not {value!r}")


def named(name: str, value: object) -> str:
    """A parameter that becomes part of a file's name.

    Raises:
        InputError: it is none.
    """
    try:
        return TypeAdapter(Name).validate_python(value)
    except ValidationError as error:
        raise InputError(
            f"{name} must be up to 64 small letters, digits and _, from a letter on, not {short(value)}"
        ) from error
