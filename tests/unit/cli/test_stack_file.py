"""The secrets of an embedded stack: new for each, told to its processes, readable by its owner alone."""

import stat
from pathlib import Path

from services.cli.stack.config import StackFile, plan_stack, read_stack, stack_path, write_stack


def test_a_stack_has_secrets_of_its_own(tmp_path: Path) -> None:
    one, two = plan_stack(tmp_path), plan_stack(tmp_path)
    for stack in (one, two):
        assert len(stack.internal_token) >= 32 and len(stack.flower_password) >= 16
        told = stack.environment()
        assert told["SENSE_INTERNAL_TOKEN"] == stack.internal_token
        assert told["FLOWER_BASIC_AUTH"] == f"sense:{stack.flower_password}"
    assert one.internal_token != two.internal_token and one.flower_password != two.flower_password
    write_stack(one)
    assert stat.S_IMODE(stack_path(tmp_path).stat().st_mode) == 0o600
    assert read_stack(tmp_path) == one


def test_a_stack_that_an_older_sense_started_can_be_read_and_stopped(tmp_path: Path) -> None:
    new = plan_stack(tmp_path)
    old = StackFile.model_validate(new.model_dump(exclude={"internal_token", "flower_password"}))
    write_stack(old)
    read = read_stack(tmp_path)
    assert read is not None and read.secrets() == {}
