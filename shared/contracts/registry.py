"""All task contracts by name."""

from shared.contracts.base import TaskContract
from shared.contracts.evaluation import ANSWER_QUESTIONS, CHOOSE_MODEL, SCORE
from shared.contracts.pairing import (
    BUILD_PAIRS,
    CHOOSE_TEMPERATURE,
    COLLECT_PAIRS,
    PROFILE_ERRORS,
    SAMPLE_CANDIDATES,
)
from shared.contracts.sandbox import BUILD_DATABASE, JUDGE_CANDIDATES, VERIFY_EXAMPLES
from shared.contracts.serving import DEPLOY_MODEL, RELEASE, UNDEPLOY_MODEL
from shared.contracts.synthesis import COLLECT, LOAD_DATASET, REVIEW_EXAMPLES, WRITE_EXAMPLES
from shared.contracts.training import TRAIN_MODEL

CONTRACTS: dict[str, TaskContract] = {
    contract.name: contract
    for contract in (
        WRITE_EXAMPLES,
        BUILD_DATABASE,
        VERIFY_EXAMPLES,
        REVIEW_EXAMPLES,
        LOAD_DATASET,
        COLLECT,
        SAMPLE_CANDIDATES,
        CHOOSE_TEMPERATURE,
        PROFILE_ERRORS,
        JUDGE_CANDIDATES,
        BUILD_PAIRS,
        COLLECT_PAIRS,
        TRAIN_MODEL,
        DEPLOY_MODEL,
        UNDEPLOY_MODEL,
        RELEASE,
        ANSWER_QUESTIONS,
        CHOOSE_MODEL,
        SCORE,
    )
}
