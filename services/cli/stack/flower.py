"""Prints where Flower is and how to log in: `python -m services.cli.stack.flower`."""

import sys

from services.cli.stack.config import FLOWER_USER, state_folder
from services.cli.stack.manager import running_stack

if __name__ == "__main__":
    stack = running_stack(state_folder())
    if stack is None:
        print("no stack is up; start it with: sense up", file=sys.stderr)
        sys.exit(3)
    print(f"Flower: {stack.flower_url}")
    print(f"user {FLOWER_USER}, password {stack.flower_password}  (new with every sense up)")
