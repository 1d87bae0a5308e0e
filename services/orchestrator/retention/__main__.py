"""Removes what has stayed long enough, and lists it:

`python -m services.orchestrator.retention [--dry-run | --usage]`.
"""

import argparse
import sys
from collections import Counter

from services.orchestrator.retention.run import Retention
from services.orchestrator.retention.settings import RetentionSettings
from services.orchestrator.retention.stored import usage
from shared.errors import SenseError
from shared.jobs.connect import connect_redis
from shared.jobs.store import JobStore
from shared.settings import RedisSettings
from shared.storage.open import StoreSettings, open_store


def main() -> int:
    """0, or 1 with the reason where Redis or the store is away."""
    parser = argparse.ArgumentParser(prog="python -m services.orchestrator.retention", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="only list what would go, and why")
    parser.add_argument("--usage", action="store_true", help="only say what the store holds, by kind")
    arguments = parser.parse_args()
    redis = RedisSettings()
    total: Counter[str] = Counter()
    try:
        if arguments.usage:
            for kind, (number, size) in sorted(usage(open_store(StoreSettings())).items()):
                print(f"{kind:<12} {number:>10} objects {size / 1e6:>14.1f} MB")
            return 0
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
