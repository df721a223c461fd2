"""Address: a URL that shows no secret, however it is printed.

In: a URL, or a path. Out: a string that is its public form, without user info and query values; `reveal` gives the whole, and
is called only where the request is made. What Prefect is to keep gets the public form, too (`hide`): the process remembers
what it stands for.
"""

from collections.abc import Mapping
from itertools import count
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from tasks.safety.redaction import MASK, add_address_secrets, public_address

_hidden: dict[str, str] = {}  # what `hide` has given out, and what each stands for


class Address(str):
    """An address as a string: whatever formats, compares, serializes or pickles it sees the public form.

    Only `reveal` gives the whole. Two addresses that differ in their secrets alone differ.
    """

    _whole: str

    def __new__(cls, text: str) -> Self:
        """Take a URL or a path; what `hide` has given out stands for what it hid."""
        if isinstance(text, cls):
            return text
        whole = _hidden.get(str(text), str(text))
        add_address_secrets(whole)
        self = super().__new__(cls, public_address(whole))
        self._whole = whole
        return self

    def reveal(self) -> str:
        """The whole address, with its secrets: for a request, and nothing else."""
        return self._whole

    @property
    def lacks_secrets(self) -> bool:
        """Whether it is the public form of an address whose secrets this process never knew."""
        return self._whole == str(self) and (f"{MASK}@" in self._whole or f"={MASK}" in self._whole)

    def child(self, name: str) -> "Address":
        """The address of a file in the folder that this is the address of; a query stays."""
        try:
            parts = urlsplit(self._whole)
        except ValueError:  # no URL: whoever asks for it will say so
            return Address(f"{self._whole.rstrip('/')}/{name}")
        return Address(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment="")))

    def __eq__(self, other: object) -> bool:
        """Whether both are the same, secrets included; a plain string is compared with the public form."""
        return self._whole == other._whole if isinstance(other, Address) else str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __str__(self) -> str:
        return str.__str__(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Leave the secrets behind where it is pickled: they stay in the process that was given them."""
        return str, (str(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> Any:
        """Be a string to pydantic, which prints and writes the public form."""
        from pydantic_core import PydanticCustomError, core_schema  # noqa: PLC0415  # `--help` needs none of it

        def taken(value: object) -> Address:
            if not isinstance(value, str):
                raise PydanticCustomError("string_type", "Input should be a valid string")
            return cls(value)

        return core_schema.no_info_plain_validator_function(
            taken, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: object, _handler: object) -> dict[str, str]:
        """Be a string in JSON schemas."""
        return {"type": "string", "format": "uri"}


def hide(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a run as others may keep them: addresses in their public form.

    This process knows what the mirrors among them stand for; of all others, the run refuses what had to be masked.
    """
    return {name: _hidden_in(value, paths=name != "mirrors") for name, value in parameters.items()}


def _hidden_in(value: Any, *, paths: bool) -> Any:
    """A parameter in its public form; where it may be a path, only what is clearly a URL is changed."""
    if isinstance(value, str):
        return value if paths and "://" not in value else _stand_in(value)
    return [_hidden_in(item, paths=paths) for item in value] if isinstance(value, list | tuple) else value


def _stand_in(whole: str) -> str:
    """The public form of an address; numbered, where another of the same form was hidden before."""
    shown = public_address(whole)
    if shown == whole or whole in _hidden:
        return whole
    add_address_secrets(whole)
    for number in count(1):
        numbered = shown if number == 1 else shown.replace(MASK, f"{MASK}{number}", 1)
        if _hidden.setdefault(numbered, whole) == whole:
            return numbered
    raise AssertionError
