"""Everything that happens to a running stack, by name; each is drawn and timed by a seed."""

from tests.failure.chaos.on_clocks import clock_jumps
from tests.failure.chaos.on_jobs import POISONS, poisoned
from tests.failure.chaos.on_messages import deliver_again, out_of_order
from tests.failure.chaos.on_processes import kill, pause, poison, two_orchestrators
from tests.failure.chaos.on_servers import disk_full, endpoints_fail, store_away, store_full
from tests.failure.chaos.world import CLOCKED, Happening

PROGRAMS = ("synthesis", "sandbox", "pairing", "evaluation", "serving")

HAPPENINGS: dict[str, Happening] = {
    **{f"kill {name}": kill(f"worker-{name}") for name in PROGRAMS},
    **{f"kill {name}'s child": kill(f"worker-{name}", child=True) for name in PROGRAMS},
    **{f"kill {name}": kill(name) for name in ("orchestrator", "gateway", "engine", "redis")},
    **{f"pause {name}": pause(f"worker-{name}") for name in ("synthesis", "sandbox", "pairing")},
    "store 503, then slow": store_away,
    "store full": store_full,
    "disk full": disk_full,
    "endpoints fail": endpoints_fail,
    "every command again": deliver_again,
    "commands out of order": out_of_order,
    "a worker's clock jumps": clock_jumps(*(name for name in CLOCKED if name.startswith("worker-"))),
    "orchestrator's clock jumps": clock_jumps("orchestrator"),
    "two orchestrators": two_orchestrators,
    "poisoned shard": poison,
    **{kind: poisoned(kind) for kind in POISONS},
}
