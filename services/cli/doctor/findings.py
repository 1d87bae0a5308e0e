"""One finding of the doctor's, and how a check that breaks becomes one."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shared.errors import SenseError

Grade = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`note`: works, but know it. `wrong`: something will fail; `remedy` says what to do."""

    subject: str
    grade: Grade
    said: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


Check = Callable[[], Iterator[Finding]]


def run_checks(checks: dict[str, Check]) -> Iterator[Finding]:
    """Every check's findings; one that breaks is a finding too, and the others go on."""
    for subject, check in checks.items():
        try:
            yield from check()
        except SenseError as error:
            yield Finding(subject, "wrong", error.message)
        except Exception as error:
            yield Finding(subject, "wrong", f"the check itself failed: {type(error).__name__}: {error}", "report this")
