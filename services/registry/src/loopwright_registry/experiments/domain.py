"""An experiment and the rules for its name and artifact location."""

from dataclasses import dataclass, field
from typing import Literal

from loopwright_common.errors import InvalidError
from loopwright_common.names import check_name
from loopwright_registry.artifacts.domain import artifact_path
from loopwright_registry.mlflow.domain import ACTIVE, DELETED, Tags, check_length

DEFAULT_ID = 0
LONGEST_LOCATION = 500
ViewType = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]
LIFECYCLE_STAGES = {"ACTIVE_ONLY": (ACTIVE,), "DELETED_ONLY": (DELETED,), "ALL": (ACTIVE, DELETED)}


@dataclass(frozen=True, slots=True)
class Experiment:
    """Times are milliseconds since 1970."""

    experiment_id: int
    name: str
    artifact_location: str
    lifecycle_stage: str
    created_ms: int
    updated_ms: int
    tags: Tags = field(default_factory=dict)

    def require_active(self) -> None:
        """InvalidError for a deleted experiment."""
        if self.lifecycle_stage != ACTIVE:
            raise InvalidError(
                f"The experiment {self.experiment_id} must be in the 'active' state; "
                f"it is {self.lifecycle_stage}"
            )


def experiment_id_of(text: str) -> int:
    """InvalidError unless the id is digits."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidError(f"Invalid experiment ID: {text!r}; an id is digits")
    return int(text)


def check_experiment_name(name: str) -> None:
    """InvalidError for a name that is empty, not shown as it is, or over 500 characters long."""
    if not name.strip():
        raise InvalidError("Invalid experiment name: it is empty", field="name")
    check_name("name", name)
    check_length("the experiment name", name, 500)


def check_location(location: str) -> None:
    """A location is a plain path in our store: clients open whatever it names, on their machines.

    InvalidError for any other, or a longer one than is kept.
    """
    check_length("artifact_location", location, LONGEST_LOCATION)
    artifact_path(location)
