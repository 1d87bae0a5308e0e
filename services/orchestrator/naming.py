"""The names of one job's models."""

from dataclasses import dataclass

from services.orchestrator.fragments import base_name


@dataclass(frozen=True, slots=True)
class Names:
    """The immutable names of one job's models, and the device they share."""

    prefix: str
    base: str
    device: str

    def model(self, stage: str) -> str:
        """A model of this job."""
        return f"{self.prefix}-{stage}"


def name_models(job_id: str, base: str, device: str) -> Names:
    """Names hold the base and the job, so that none is ever used twice."""
    short = base_name(base)
    return Names(prefix=f"{short}-{job_id[:8]}", base=short, device=device)
