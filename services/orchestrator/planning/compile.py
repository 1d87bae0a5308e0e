"""Compile a spec into a plan. `compile_pipeline` shows all parts of a pipeline in order."""

from collections.abc import Sequence

from pydantic import ValidationError

from services.orchestrator.planning.evaluation import (
    PipelineEvaluation,
    compile_evaluation,
    find_benchmarks,
    test_question_stages,
)
from services.orchestrator.planning.pairs import pair_source, pairs_needed, sampling_stages
from services.orchestrator.planning.rounds import Rounds
from services.orchestrator.planning.stages import (
    ModelNames,
    deploy_stage,
    name_models,
    prompt_params,
    release_stage,
    stage_ref,
    train_stage,
    undeploy_stage,
)
from services.orchestrator.planning.synthesis import (
    ErrorWave,
    reserve_wave_budget,
    test_set_stages,
    training_data_stages,
)
from shared.catalog.datasets import choose_split, find_dataset
from shared.contracts.spec import (
    AnySpec,
    DatasetSource,
    DeploymentSpec,
    DpoSpec,
    EvaluationSpec,
    PairingSpec,
    PipelineSpec,
    SftSpec,
    StrongModel,
    SynthesisSource,
    SynthesisSpec,
    TestSet,
    TrainSources,
)
from shared.errors import InvalidInputError, NotFoundError
from shared.jobs.plan import FixedShards, JobPlan, StagePlan
from shared.storage.keys import card_key
from shared.storage.store import ObjectStore

MOST_STAGES = 1000  # every step of a job reads all of them
MOST_SHARDS = 100_000  # stored in the plan itself


def compile_spec(job_id: str, spec: AnySpec, device: str, data_plan: JobPlan | None = None) -> JobPlan:
    """Compiles a job. `device` is the name of the device that training and engine share.

    `data_plan` is the plan of the job whose export an `sft` or `dpo` job trains on; it holds the prompt format.

    Raises `InvalidInputError` if names of the spec make no valid plan, such as a model name with a space in it.
    """
    try:
        plan = compile_kind(job_id, spec, device, data_plan)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise InvalidInputError(f"the spec makes no plan ({reason}); check the names of its models") from error
    shards = sum(len(stage.source.shards) for stage in plan.stages if isinstance(stage.source, FixedShards))
    if len(plan.stages) > MOST_STAGES or shards > MOST_SHARDS:
        raise InvalidInputError(
            f"the spec makes a plan of {len(plan.stages)} stages with {shards} shards, above {MOST_STAGES} and "
            f"{MOST_SHARDS}; name fewer models, test sets or questions, or make it several jobs"
        )
    return plan


def compile_kind(job_id: str, spec: AnySpec, device: str, data_plan: JobPlan | None) -> JobPlan:
    match spec:
        case PipelineSpec():
            return compile_pipeline(job_id, spec, device)
        case SynthesisSpec():
            return JobPlan(stages=training_data_stages(spec, []), lost_allowed=spec.lost_allowed)
        case PairingSpec():
            return compile_pairing(job_id, spec, device)
        case SftSpec() | DpoSpec():
            return compile_training(job_id, spec, device, data_plan)
        case DeploymentSpec(serve=False):
            return JobPlan(stages=[undeploy_stage(spec.model, device)])
        case DeploymentSpec():
            stage = deploy_stage(
                "deploy", model=spec.model, base=spec.student.base, adapter=True, after=[], device=device
            )
            return JobPlan(stages=[stage])
        case EvaluationSpec():
            return compile_evaluation(spec, device)


def compile_pipeline(job_id: str, spec: PipelineSpec, device: str) -> JobPlan:
    # `whole` keeps the full budgets, from which the error wave takes its share
    names, whole = name_models(job_id, spec.student.base, device), spec
    spec = reserve_wave_budget(whole)
    # test sets first: training exports refuse their questions
    stages = test_set_stages(spec)
    benchmarks = find_benchmarks(spec.evaluate)
    refuse = test_question_stages(benchmarks, builtin=bool(stages))
    stages += [one.load_stage() for one in benchmarks]
    wave = ErrorWave(whole, names, refuse) if whole.strong.follow_errors else None
    training_data = training_data_stages(spec, refuse, wave)
    stages += training_data
    more, verified, dataset = pair_source(spec, refuse)
    stages += more
    stages += sft_stages(spec, names)
    stages += sampling_stages(spec, names, verified, dataset)
    sampled_here = spec.weak.endpoint is None
    stages += preference_stages(spec, names, sampled_here)
    rounds = Rounds(spec, names, dataset)
    stages += rounds.stages()
    stages += PipelineEvaluation(spec, names, benchmarks, training_data, rounds).stages()
    return JobPlan(stages=stages, lost_allowed=spec.lost_allowed)


def sft_stages(spec: PipelineSpec | PairingSpec, names: ModelNames) -> list[StagePlan]:
    release = release_stage("release.before", ["collect.train"], names.device)
    sft = train_stage(
        "sft",
        spec.student,
        names,
        method="sft",
        data=stage_ref("collect.train"),
        prompt=prompt_params(spec),
        output="sft",
        settings=spec.sft,
        seed=spec.seed,
        after=["collect.train", release.id],
    )
    return [release, sft]


def preference_stages(spec: PipelineSpec, names: ModelNames, sampled_here: bool) -> list[StagePlan]:
    """DPO from the SFT model, and its control: the SFT continued on the chosen side for the same number of steps."""
    need = pairs_needed(spec)
    after = ["sft", "collect.preferences", *(["release.weak"] if sampled_here else [])]
    stages = []
    for stage, method, output in (("dpo", "dpo", "dpo"), ("control", "sft", "chosen")):
        settings = spec.dpo
        if stage == "control":
            settings = spec.dpo.model_copy(update={"learning_rate": None})
        stages.append(
            train_stage(
                stage,
                spec.student,
                names,
                method=method,
                recipe=stage,
                data=stage_ref("collect.preferences"),
                prompt=prompt_params(spec),
                output=output,
                settings=settings,
                seed=spec.seed,
                after=after,
                parent=names.model("sft"),
                need=need,
            )
        )
    return stages


def compile_pairing(job_id: str, spec: PairingSpec, device: str) -> JobPlan:
    names = name_models(job_id, spec.student.base, device)
    stages = training_data_stages(spec, [])
    more, verified, dataset = pair_source(spec, [])
    stages += more
    if spec.weak.endpoint is None and spec.weak.sft_first:
        stages += sft_stages(spec, names)
    stages += sampling_stages(spec, names, verified, dataset)
    return JobPlan(stages=stages, lost_allowed=spec.lost_allowed)


def compile_training(job_id: str, spec: SftSpec | DpoSpec, device: str, data_plan: JobPlan | None) -> JobPlan:
    names = name_models(job_id, spec.student.base, device)
    is_sft = isinstance(spec, SftSpec)
    source = "collect.train" if is_sft else "collect.preferences"
    collected = next((stage for stage in data_plan.stages if stage.id == source), None) if data_plan else None
    prompt = {} if collected is None else {name: collected.params.get(name) for name in ("sample_rows", "style")}
    release = release_stage("release.before", [], device)
    stage = train_stage(
        spec.kind,
        spec.student,
        names,
        method=spec.kind,
        data=stage_ref(source, spec.data.removeprefix("job:")),
        prompt=prompt,
        output=spec.kind,
        settings=spec.sft if isinstance(spec, SftSpec) else spec.dpo,
        seed=spec.seed,
        after=[release.id],
        parent=None if isinstance(spec, SftSpec) else spec.parent,
    )
    return JobPlan(stages=[release, stage])


TEST_ORDER = ("dev", "test")
TRAIN_ORDER = ("train",)


def pin_datasets(spec: AnySpec, objects: ObjectStore) -> AnySpec:
    """Returns the spec with NAME@VERSION, split and policy wherever it names a dataset. Call it once, before compiling.

    Raises `InvalidInputError` for a dataset, version, split or database that does not exist.
    """
    changes: dict[str, object] = {}
    try:
        if isinstance(spec, PipelineSpec | PairingSpec | SynthesisSpec):
            changes["train"] = pin_sources(spec.train, objects)
            changes["strong"] = pin_seeds(spec.strong, objects)
            check_databases(spec.database_ids, objects)
        if isinstance(spec, PipelineSpec | EvaluationSpec):
            changes["evaluate"] = [pin_test(test, objects) for test in spec.evaluate]
    except NotFoundError as error:
        raise InvalidInputError(error.message, code=error.code) from error
    return spec.model_copy(update=changes)


def pin_sources(train: TrainSources, objects: ObjectStore) -> TrainSources:
    pairs = None if train.pairs is None else pin_each(train.pairs, objects)
    return train.model_copy(update={"sft": pin_each(train.sft, objects), "pairs": pairs})


def pin_each(
    sources: Sequence[SynthesisSource | DatasetSource], objects: ObjectStore
) -> list[SynthesisSource | DatasetSource]:
    return [pin_source(one, objects) if isinstance(one, DatasetSource) else one for one in sources]


def pin_source(source: DatasetSource, objects: ObjectStore) -> DatasetSource:
    manifest = find_dataset(objects, source.dataset)
    split = choose_split(manifest, source.split, TRAIN_ORDER)
    return source.model_copy(update={"dataset": manifest.ref, "split": split})


def pin_seeds(strong: StrongModel, objects: ObjectStore) -> StrongModel:
    if strong.seeds is None:
        return strong
    manifest = find_dataset(objects, strong.seeds.dataset)
    split = choose_split(manifest, strong.seeds.split, TRAIN_ORDER)
    seeds = strong.seeds.model_copy(update={"dataset": manifest.ref, "split": split})
    return strong.model_copy(update={"seeds": seeds})


def check_databases(ids: Sequence[str], objects: ObjectStore) -> None:
    for one in ids:
        if not objects.exists(card_key(one)):
            raise NotFoundError(
                f"there is no database {one}; bring it with: sense databases add FILE.sqlite", code="database_not_found"
            )


def pin_test(test: TestSet, objects: ObjectStore) -> TestSet:
    """Sets the official policy of the dataset unless the spec names another."""
    if test.builtin:
        return test
    manifest = find_dataset(objects, test.dataset)
    split = choose_split(manifest, test.split, TEST_ORDER)
    return test.model_copy(update={"dataset": manifest.ref, "split": split, "policy": test.policy or manifest.policy})
