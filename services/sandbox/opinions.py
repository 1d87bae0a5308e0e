"""What further policies say of judged candidates: those that a command names, and a data set's official one."""

from collections.abc import Sequence

from services.sandbox.judge import Question
from services.sandbox.worker_pool import worker_judge
from shared.catalog.datasets import find_dataset
from shared.contracts.records import Example, Policy, Verdict
from shared.contracts.sandbox import JudgeCandidates
from shared.tasks.task import Shard

ByPolicy = dict[Policy, Verdict]


class Opinions:
    """The further policies of one command."""

    def __init__(self, command: JudgeCandidates, shard: Shard) -> None:
        self.command, self.shard = command, shard
        self._official: dict[str, Policy] = {}

    def policies(self, example: Example) -> list[Policy]:
        """Those besides the main one, each once."""
        asked = list(self.command.also)
        if self.command.official and example.dataset:
            asked.append(self.official(example.dataset))
        return [policy for policy in dict.fromkeys(asked) if policy is not self.command.policy]

    def official(self, dataset: str) -> Policy:
        """The policy of a stored data set. Raises NotFoundError."""
        if dataset not in self._official:
            self._official[dataset] = find_dataset(self.shard.objects, dataset).policy
        return self._official[dataset]

    def verdicts(self, examples: Sequence[Example], questions: Sequence[Question]) -> list[list[ByPolicy]]:
        """For each question and candidate, the verdict by further policy, on the original database."""
        found: list[list[ByPolicy]] = [[{} for _ in question.candidates] for question in questions]
        wanted = [self.policies(example) for example in examples]
        for policy in dict.fromkeys(policy for policies in wanted for policy in policies):
            places = [place for place, policies in enumerate(wanted) if policy in policies]
            judged = worker_judge(self.shard, policy).judge_many([questions[place] for place in places])
            for place, judgements in zip(places, judged, strict=True):
                for number, judgement in enumerate(judgements):
                    found[place][number][policy] = judgement.verdict
        return found
