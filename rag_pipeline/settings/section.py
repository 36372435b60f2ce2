"""What every part of the settings is made of."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the settings: never changed after it was read, and without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
