"""Base class of all values, and the names of the splits."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base model of all values: frozen, and without unknown fields, NaN or infinity.

    A field that earlier versions named otherwise has a `validation_alias`: its name, then the earlier name, which is
    read but never written.
    """

    # Validation errors omit the input, because it may hold a secret.
    # NaN and infinity are rejected: JSON cannot represent them, and a record with them comes from a faulty step.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


LogLine = Callable[[str, int], None]  # receives a line and its logging level
TRAIN, TEST = "train", "test"  # the names of the splits
