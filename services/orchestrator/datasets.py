"""Data sets that a spec names become what they are now: a version, a split, a policy. Done once, before compiling."""

from collections.abc import Sequence

from shared.catalog.datasets import choose_split, find_dataset
from shared.contracts.spec import AnySpec, EvaluationSpec, PairingSpec, PipelineSpec, SynthesisSpec
from shared.contracts.spec_models import StrongModel
from shared.contracts.spec_sources import DatasetSource, SynthesisSource, TestSet, TrainSources
from shared.errors import InvalidInputError, NotFoundError
from shared.storage.keys import card_key
from shared.storage.store import ObjectStore

TEST_ORDER = ("dev", "test")
TRAIN_ORDER = ("train",)


def pin_datasets(spec: AnySpec, objects: ObjectStore) -> AnySpec:
    """The spec with NAME@VERSION, split and policy wherever it names a data set.

    Raises InvalidInputError for a data set, version or split that is not there: the job cannot run.
    """
    changes: dict[str, object] = {}
    try:
        if isinstance(spec, PipelineSpec | PairingSpec | SynthesisSpec):
            changes["train"] = pin_sources(spec.train, objects)
            changes["strong"] = pin_seeds(spec.strong, objects)
            check_databases(spec.own_ids, objects)
        if isinstance(spec, PipelineSpec | EvaluationSpec):
            changes["evaluate"] = [pin_test(test, objects) for test in spec.evaluate]
    except NotFoundError as error:
        raise InvalidInputError(error.message, code=error.code) from error
    return spec.model_copy(update=changes)


def pin_sources(train: TrainSources, objects: ObjectStore) -> TrainSources:
    """Training sources, pinned."""
    pairs = None if train.pairs is None else pin_each(train.pairs, objects)
    return train.model_copy(update={"sft": pin_each(train.sft, objects), "pairs": pairs})


def pin_each(
    sources: Sequence[SynthesisSource | DatasetSource], objects: ObjectStore
) -> list[SynthesisSource | DatasetSource]:
    """Each source, pinned where it is a data set."""
    return [pin_source(one, objects) if isinstance(one, DatasetSource) else one for one in sources]


def pin_source(source: DatasetSource, objects: ObjectStore) -> DatasetSource:
    """A training source."""
    manifest = find_dataset(objects, source.dataset)
    split = choose_split(manifest, source.split, TRAIN_ORDER)
    return source.model_copy(update={"dataset": manifest.ref, "split": split})


def pin_seeds(strong: StrongModel, objects: ObjectStore) -> StrongModel:
    """Whose examples the strong model is shown."""
    if strong.seeds is None:
        return strong
    manifest = find_dataset(objects, strong.seeds.dataset)
    split = choose_split(manifest, strong.seeds.split, TRAIN_ORDER)
    seeds = strong.seeds.model_copy(update={"dataset": manifest.ref, "split": split})
    return strong.model_copy(update={"seeds": seeds})


def check_databases(ids: Sequence[str], objects: ObjectStore) -> None:
    """Raises NotFoundError for a database that is not here."""
    for one in ids:
        if not objects.exists(card_key(one)):
            raise NotFoundError(
                f"there is no database {one}; bring it with: sense databases add FILE.sqlite", code="database_not_found"
            )


def pin_test(test: TestSet, objects: ObjectStore) -> TestSet:
    """A test set; its policy is the data set's official one unless the spec names another."""
    if test.builtin:
        return test
    manifest = find_dataset(objects, test.dataset)
    split = choose_split(manifest, test.split, TEST_ORDER)
    return test.model_copy(update={"dataset": manifest.ref, "split": split, "policy": test.policy or manifest.policy})
