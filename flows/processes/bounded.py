"""Call a function that may never return, such as one that asks a server or a network file system."""

import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def within(seconds: float, call: Callable[[], _Result]) -> _Result:
    """Return the result of a call, or stop waiting for the call after a time limit.

    The call then goes on in its thread, which does not keep the process from ending.

    Raises:
        TimeoutError: If the call has not returned in time.
        Exception: The error of the call.
    """
    results: list[_Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    for error in errors:
        raise error
    for result in results:
        return result
    raise TimeoutError(f"no answer within {seconds:.0f} s")
