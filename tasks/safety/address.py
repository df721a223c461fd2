"""Addresses that print only their public form.

The public form of a URL masks its user info, the values of its query, and its fragment. `Address.reveal` returns the
complete URL and is called only where the request is made. Flow-run parameters that Prefect stores also get the public
form (`hide`); this process remembers the address behind each public form.
"""

from collections.abc import Mapping
from itertools import count
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from tasks.safety.redaction import MASK, add_address_secrets, public_address

_hidden: dict[str, str] = {}  # public form that `hide` returned -> complete address


def fault_of_url(url: str) -> str:
    """Return why no request can be sent to a URL with a host, without quoting it; an empty string if there is no fault."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # the text of the parser may quote a part of a password
        return "has an invalid host or port"
    if not host or any(one.isspace() or not one.isprintable() for one in url):
        return "has no valid host"
    return "has the port 0" if port == 0 else ""


class Address(str):
    """An address whose string value is its public form.

    Formatting, serialization and pickling see only the public form; `reveal` returns the complete address. Two
    addresses that differ only in their secrets are not equal.
    """

    _whole: str

    def __new__(cls, text: str) -> Self:
        """Create an address from a URL or a path; resolve a public form that `hide` returned."""
        if isinstance(text, cls):
            return text
        whole = _hidden.get(str(text), str(text))
        add_address_secrets(whole)
        self = super().__new__(cls, public_address(whole))
        self._whole = whole
        return self

    def reveal(self) -> str:
        """Return the complete address, including its secrets, for use in a request only."""
        return self._whole

    @property
    def lacks_secrets(self) -> bool:
        """Whether this is the public form of an address whose secrets this process does not know."""
        return self._whole == str(self) and (f"{MASK}@" in self._whole or f"={MASK}" in self._whole)

    def child(self, name: str) -> "Address":
        """Return the address of the file `name` in the folder at this address; keep the query, drop the fragment."""
        try:
            parts = urlsplit(self._whole)
        except ValueError:  # not a valid URL; the request will report the error
            return Address(f"{self._whole.rstrip('/')}/{name}")
        return Address(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment="")))

    def __eq__(self, other: object) -> bool:
        """Compare two addresses including their secrets; compare a plain string with the public form."""
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
        """Pickle only the public form: secrets stay in the process that received them."""
        return str, (str(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> Any:
        """Validate and serialize as a string, so that pydantic writes the public form."""
        from pydantic_core import PydanticCustomError, core_schema  # noqa: PLC0415  # keeps `--help` fast

        def taken(value: object) -> Address:
            if not isinstance(value, str):
                raise PydanticCustomError("string_type", "Input should be a valid string")
            return cls(value)

        return core_schema.no_info_plain_validator_function(
            taken, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: object, _handler: object) -> dict[str, str]:
        """Describe the type as a string in JSON schemas."""
        return {"type": "string", "format": "uri"}


def hide(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a flow run with every address in its public form.

    This process can resolve the public forms back to the complete addresses. In any other process, the run rejects
    addresses whose secrets were masked.
    """
    return {name: _hidden_in(value, paths=name != "mirrors") for name, value in parameters.items()}


def _hidden_in(value: Any, *, paths: bool) -> Any:
    """Return a parameter with its addresses in their public form.

    Args:
        value: The parameter; lists and tuples are processed item by item.
        paths: Whether strings may be paths; then only strings that contain `://` are changed.
    """
    if isinstance(value, str):
        return value if paths and "://" not in value else _stand_in(value)
    return [_hidden_in(item, paths=paths) for item in value] if isinstance(value, list | tuple) else value


def _stand_in(whole: str) -> str:
    """Return the public form of an address and remember the complete address behind it.

    If another address with the same public form was hidden before, the mask gets a number.
    """
    shown = public_address(whole)
    if shown == whole or whole in _hidden:
        return whole
    add_address_secrets(whole)
    for number in count(1):
        numbered = shown if number == 1 else shown.replace(MASK, f"{MASK}{number}", 1)
        if _hidden.setdefault(numbered, whole) == whole:
            return numbered
    raise AssertionError
