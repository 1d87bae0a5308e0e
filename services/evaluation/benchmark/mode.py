"""Whose rules count."""

from typing import Literal

# official: as the public evaluators score, their faults included. strict: without the faults that have a name.
Mode = Literal["official", "strict"]
