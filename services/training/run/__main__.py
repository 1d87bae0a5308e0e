"""`python -m services.training.run CONFIG.json`: trains, and ends with an exit code of `ExitCode`."""

import json
import os
import sys
import time
import traceback
from pathlib import Path

from pydantic import ValidationError

from services.training.config import TrainConfig
from services.training.exits import ExitCode, StopFlag, TrainingStop, exit_with_supervisor, out_of_memory_message

# on the CPU, torch raises a plain RuntimeError when memory runs out
MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def main(started: float) -> ExitCode:
    """Runs the config that the command line names. A failure leaves `error.json` in its `out_dir`."""
    exit_with_supervisor()
    flag = StopFlag()
    flag.install()
    try:
        config = TrainConfig.model_validate_json(Path(sys.argv[1]).read_text())
    except (IndexError, OSError, ValidationError) as error:
        print(f"usage: python -m services.training.run CONFIG.json ({error})", file=sys.stderr)
        return ExitCode.INTERNAL
    config.out_dir.mkdir(parents=True, exist_ok=True)
    (config.out_dir / "error.json").unlink(missing_ok=True)
    try:
        # imported late: it loads torch, and a stop request must already be handled
        from services.training.run.train import train

        train(config, flag, started)
        return ExitCode.OK
    except TrainingStop as error:
        stop = error
    except Exception as error:
        traceback.print_exc()
        if isinstance(error, MemoryError) or any(word in str(error).lower() for word in MEMORY_WORDS):
            stop = TrainingStop(ExitCode.OUT_OF_MEMORY, out_of_memory_message(config))
        else:
            stop = TrainingStop(ExitCode.INTERNAL, f"The training failed: {type(error).__name__}: {error}")
    path = config.out_dir / "error.json"
    if not path.exists():  # the first process of a launch that stops knows the cause; the others follow it
        path.write_text(json.dumps({"code": stop.code.name.lower(), "message": stop.message}) + "\n")
    return stop.code


if __name__ == "__main__":
    # beside another busy process, OpenMP threads that spin at barriers were ten times slower than ones that sleep
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # a bounded spin first: 1.87 s per step against 2.24 s without, on two idle cores with prompt groups of four
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    # no hub, and no progress bars in the log
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false")
    code = main(time.monotonic())
    sys.stdout.flush()
    sys.stderr.flush()
    # interpreter shutdown with torch loaded takes time and can hang on threads; everything is on disk
    os._exit(code)
