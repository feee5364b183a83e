"""What every decision of a plan looks at."""

from dataclasses import dataclass, field
from typing import Final

from imggen.plan.models.record import ModelRecord
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.family import Family
from imggen.plan.schema.given import Given
from imggen.plan.schema.machine import Machine
from imggen.plan.schema.request import GenerateRequest, ModelFacts
from imggen.plan.schema.template import Files

COMMAND_LINE: Final = "command line"
RECIPE: Final = "recipe"
PARENTS: Final = "recipe of a given picture"
ASKED: Final = "asked for"
"""Where a value came from when its origin was not recorded, as in a request that a program built."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request, and what is known about the model, its adapters, the machine and the pictures that it starts from."""

    request: GenerateRequest
    facts: ModelFacts
    family: Family
    record: ModelRecord
    machine: Machine
    given: tuple[Given, ...] = ()
    adapters: tuple[AdapterFacts, ...] = ()
    wildcards: Files = field(default_factory=dict)

    def why(self, name: str, otherwise: str) -> str:
        """Return where the request's `name` came from, `otherwise` where it left it blank."""
        if getattr(self.request, name) is None:
            return otherwise
        return self.request.origin.get(name, ASKED)
