"""`python -m services.orchestrator.retention [--dry-run]`: removes what has stayed long enough, and lists it."""

import argparse
import sys
from collections import Counter

from services.orchestrator.retention.run import Retention
from services.orchestrator.retention.settings import RetentionSettings
from shared.errors import SenseError
from shared.jobs.connect import connect_redis
from shared.jobs.store import JobStore
from shared.settings import RedisSettings
from shared.storage.open import open_store
from shared.storage.settings import StoreSettings


def main() -> int:
    """0, or 1 with the reason where Redis or the store is away."""
    parser = argparse.ArgumentParser(prog="python -m services.orchestrator.retention", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="only list what would go, and why")
    arguments = parser.parse_args()
    redis = RedisSettings()
    total: Counter[str] = Counter()
    try:
        store = JobStore(connect_redis(redis), redis.prefix)
        retention = Retention(store, open_store(StoreSettings()), RetentionSettings())
        for going in retention.run(dry_run=arguments.dry_run):
            print(f"{going.kind:<10} {going.what} ({going.why}; {going.count})")
            total[going.kind] += going.count
    except SenseError as error:
        print(error.message, file=sys.stderr)
        return 1
    verb = "would go" if arguments.dry_run else "went"
    print(f"{verb}: {', '.join(f'{count} {kind}' for kind, count in sorted(total.items())) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
