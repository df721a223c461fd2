"""Find out which Prefect server a run would use and whether the server answers; nothing is started or written."""
# ruff: noqa: PLC0415  # late imports: a broken installation of Prefect must not keep this module from being imported

import os
from typing import TYPE_CHECKING

from flows.processes.settings_files import prefect_home, require_usable_home, without_new_home
from tasks.safety.redaction import public_address
from tasks.schemas.diagnosis import PrefectState

if TYPE_CHECKING:
    from collections.abc import Callable

_ANSWER_SECONDS = 10.0


def prefect_state(tell: "Callable[[PrefectState], None]") -> None:
    """Find out the state of Prefect; `tell` receives what is known so far, before each step that may fail.

    Raises:
        MnistError: If the settings, the home or the server can't be used.
        ImportError: If Prefect can't be imported.
    """
    state = PrefectState(home=str(prefect_home()))
    tell(state)
    if not os.environ.get("PREFECT_API_URL"):
        require_usable_home()  # before the import of Prefect, whose messages say less
    with without_new_home():
        from prefect.settings import PREFECT_API_URL

        from flows.processes.log_filters import mask_prefect_settings

        mask_prefect_settings()  # before the first request, whose errors may hold a secret
        url = PREFECT_API_URL.value()
        if not url:
            tell(_with_history(state))
            return
        from flows.server.local_server import check_server

        state = state.model_copy(update={"server": public_address(url)})
        tell(state)
        check_server(url)
        tell(state.model_copy(update={"reachable": True, "version": _server_version()}))


def _with_history(state: PrefectState) -> PrefectState:
    """Return the state with the local database, which the temporary servers of all runs share."""
    from flows.server.database import database_file

    file = database_file()
    if file is None:
        return state
    size = file.stat().st_size if file.exists() else 0
    return state.model_copy(update={"database": str(file), "history": size})


def _server_version() -> str:
    """Return the version of the configured server; empty if the server does not tell."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(httpx_settings={"timeout": _ANSWER_SECONDS}, sync_client=True) as client,
        ):
            return str(client.api_version())
    except (httpx.HTTPError, ValueError):  # an overloaded server, or one that requires more rights for this
        return ""
