"""Define what `mnist doctor` finds: the facts about an installation, and the checks that passed or failed."""

from pydantic import Field

from tasks.base import Frozen


class HealthCheck(Frozen):
    """One check: what was found, and if the check failed, what to do."""

    name: str
    passed: bool
    found: str


class Machine(Frozen):
    """The system, the processor with its vector instructions, the cores, and the memory in bytes."""

    system: str
    processor: str
    cores: int
    usable_cores: int  # fewer if the process is bound to some cores
    memory: int
    available_memory: int


class Disk(Frozen):
    """The free space in bytes at a folder; the folder itself may be missing."""

    use: str
    folder: str
    free: int
    size: int


class RootUsage(Frozen):
    """The files under a root: bytes by folder, unfinished work of runs that ended early, and active runs.

    `in_use` is None if this can't be found out.
    """

    folders: dict[str, int] = Field(default_factory=dict)
    unfinished: int = 0
    in_use: bool | None = None


class PrefectState(Frozen):
    """Prefect's home, and the server in use.

    `server` is the address of the user's server; it is empty if a temporary server is started for each run. `version`
    is the version of that server if it answers, and `history` the bytes of the local database.
    """

    home: str
    server: str = ""
    reachable: bool = False
    version: str = ""
    database: str = ""
    history: int = 0


class Diagnosis(Frozen):
    """All that a bug report needs to say about an installation.

    `settings` are the variables that may change results, with the values in effect; `ignored` are the names of the
    variables that mnist has removed from its environment.
    """

    mnist: str
    python: str
    executable: str
    libraries: dict[str, str]
    machine: Machine
    settings: dict[str, str]
    onednn: str  # on or off
    ignored: tuple[str, ...]
    disks: tuple[Disk, ...]
    root: str
    root_source: str  # how the root was chosen
    usage: RootUsage
    prefect: PrefectState
    checks: tuple[HealthCheck, ...]

    @property
    def failed(self) -> tuple[HealthCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)
