"""The models of a job: who writes, who makes mistakes, what is trained, which pairs are built, who is scored."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from shared.contracts.pairing import PairPolicy
from shared.contracts.spec_sources import Amount, Dollars, SeedSource, SpecPart, Tokens

BUILTIN_BASE = "builtin:smollm2-135m"
SERVED_TAG, ENDPOINT_TAG = "<served>", "<endpoint>"


class StrongModel(SpecPart):
    """Who writes: an endpoint's model, or, with no endpoint, the offline grammar writer."""

    endpoint: str | None = None
    model: str | None = None
    temperature: float = Field(default=0.9, ge=0, le=2)
    max_tokens: int = Field(default=2000, ge=64, le=32_000, description="tokens that an answer may have")
    budget_usd: Dollars | None = None
    budget_tokens: Tokens | None = Field(default=None, description="of prompts and answers together")
    seeds: SeedSource | None = Field(default=None, description="default: the built-in seed examples")
    evidence: bool = Field(default=False, description="ask for BIRD's external knowledge too")
    judge: bool = Field(
        default=False,
        description="ask the model back whether each SQL answers its question; a clear no rejects the example. A fifth "
        "of the budget is set aside for it",
    )
    agreement: bool = Field(default=True, description="reject examples whose question and SQL speak of other values")
    neighbours: int = Field(
        default=4,
        ge=0,
        le=32,
        description="variants of an invented database on which a gold is run: one with the same result on all is "
        "constant, and rejected; 0: off. The offline writer's golds are not constant by their making",
    )
    follow_errors: float = Field(
        default=0.0,
        ge=0,
        le=4,
        description="a second wave, so many times as large as the first, of what the weak model fails at most; in "
        "pipelines",
    )
    follow_questions: int = Field(
        default=96,
        ge=8,
        le=10_000,
        description="questions of the first wave on which the weak model is measured",
    )

    @model_validator(mode="after")
    def check_model(self) -> "StrongModel":
        """An endpoint without a model cannot be asked."""
        if self.judge and self.endpoint is None:
            raise ValueError("strong.judge needs an endpoint and a model to ask; or leave judge out")
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("strong needs both endpoint and model, or neither for the offline grammar writer")
        if self.endpoint is None and (self.seeds is not None or self.evidence):
            raise ValueError("seeds and evidence are for a strong model: name its endpoint and model too")
        return self


class WeakModel(SpecPart):
    """Who makes the mistakes: an endpoint's model, or a base of ours, fine-tuned first when `sft_first`."""

    base: str = BUILTIN_BASE
    sft_first: bool = True
    endpoint: str | None = None
    model: str | None = None
    samples: int = Field(default=8, ge=2, le=64)
    temperature: float = Field(default=1.0, gt=0, le=2)
    sweep: list[Annotated[float, Field(gt=0, le=2)]] | None = Field(
        default=None,
        min_length=2,
        max_length=5,
        description="temperatures to try first, e.g. [0.6, 0.8, 1.0]; the one with the most questions that have right "
        "and wrong answers is used in place of `temperature`",
    )
    sweep_questions: int = Field(default=48, ge=8, le=1000, description="questions that each temperature is tried on")
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=128, ge=8, le=32_000)
    questions: Amount | None = Field(default=None, description="how many training questions to sample; None: all")
    budget_usd: Dollars | None = None
    budget_tokens: Tokens | None = Field(default=None, description="of prompts and answers together")

    @model_validator(mode="after")
    def check_model(self) -> "WeakModel":
        """An endpoint without a model cannot be asked."""
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("weak needs both endpoint and model, or neither to use `base`")
        if self.sweep is not None and len(set(self.sweep)) < len(self.sweep):
            raise ValueError("a temperature stands twice in the sweep")
        return self


class Student(SpecPart):
    """What is trained: builtin:NAME, org/name of a hub, models/NAME of this store, or an allowed folder."""

    base: str = BUILTIN_BASE
    method: Literal["lora", "full"] = "lora"


class PromptSettings(SpecPart):
    """What every prompt shows: 0 to 5 example rows a table, comments of the schema, a list of its foreign keys."""

    rows: int = Field(default=3, ge=0, le=5)
    comments: bool = False
    foreign_keys: bool = False


class PairSettings(SpecPart):
    """Which pairs are built, how many are kept, and below how many DPO is skipped and said to be.

    `policy`: one_per_question (any right answer against any wrong one), nearest and farthest (in tokens), hardest (the
    wrong answer that most samples share), all_capped (at most `per_question`), gold_chosen (the gold where no sample is
    right).
    """

    policy: PairPolicy = "one_per_question"
    per_question: int = Field(default=4, ge=1, le=64, description="what all_capped takes of a question at most")
    length_ratio: float = Field(
        default=4.0, ge=1, le=1_000_000, description="how many times as long as the other a side may be"
    )
    syntax_share: float = Field(
        default=0.25, ge=0, le=1, description="the most that answers which SQLite cannot parse may be of the rejected"
    )
    max_length: int | None = Field(
        default=None,
        ge=16,
        le=10_000_000,
        description="tokens a pair may have with its prompt; default: the max_length of `dpo`",
    )
    neighbours: int = Field(
        default=4, ge=0, le=32, description="variants of the database on which a right answer must be right too"
    )
    limit: Amount | None = None
    minimum: Amount = 8


class EndpointModel(SpecPart):
    """A model of an endpoint profile."""

    endpoint: str
    model: str
    budget_usd: Dollars | None = None
    budget_tokens: Tokens | None = Field(default=None, description="of prompts and answers together")


def model_kind(value: object) -> str:
    """Whether a model is named alone, or with its endpoint."""
    return SERVED_TAG if isinstance(value, str) else ENDPOINT_TAG


ScoredModel = Annotated[
    Annotated[str, Tag(SERVED_TAG)] | Annotated[EndpointModel, Tag(ENDPOINT_TAG)], Discriminator(model_kind)
]
