"""The base of all values: frozen, strict, and without secrets in what is said of a misfit."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value that can't change once made, and refuses what it does not know."""

    # What pydantic says of a value that does not fit leaves the value out: it may hold a secret.
    # NaN and infinity are refused: JSON has no word for them, and a record that holds them is of a step that went wrong.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


TRAIN, TEST = "train", "test"  # the names of the splits
