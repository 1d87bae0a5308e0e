"""Pair policies: which of a question's possible pairs are taken. One policy a file, each with what it is for.

A policy sees only pairs that may be (`services/pairing/choices.py`), sorted by slots, and draws from a generator that
depends on the job's seed and the question alone: the order in which shards arrive changes nothing.
"""

from services.pairing.policies.all_capped import all_capped
from services.pairing.policies.base import Picker, PickFrom, Policy
from services.pairing.policies.farthest import farthest
from services.pairing.policies.hardest import hardest
from services.pairing.policies.nearest import nearest
from services.pairing.policies.one_per_question import one_per_question
from shared.contracts.pairing import PairPolicy

__all__ = ["POLICIES", "PickFrom", "Picker", "Policy"]

POLICIES: dict[PairPolicy, Policy] = {
    "one_per_question": Policy(one_per_question),
    "nearest": Policy(nearest),
    "farthest": Policy(farthest),
    "hardest": Policy(hardest),
    "all_capped": Policy(all_capped),
    # For weak models that get whole kinds of question wrong, where no sample could be chosen. Never the default: the
    # questions without any right sample are those where golds are wrong most often, and the gold is not in the model's
    # own words. Pairs made so say it.
    "gold_chosen": Policy(one_per_question, gold_stands_in=True),
}
