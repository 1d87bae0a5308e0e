"""Says where the cluster answers, and how to show it the key. Standard library alone."""

import sys

from infra.compose.secrets_file import FILE, read_env


def main() -> int:
    """Addresses; the key itself stays in the file."""
    values = read_env(FILE)
    host = values.get("SENSE_BIND", "127.0.0.1")
    print(f"gateway and console: http://{host}:{values.get('SENSE_PORT_GATEWAY', '8100')}")
    print(f"Flower:              http://{host}:{values.get('SENSE_PORT_FLOWER', '8155')}   (user sense)")
    print(f"keys: in {FILE}; for the command: export SENSE_API_KEY=$(grep ^SENSE_ADMIN_KEY= {FILE} | cut -d= -f2)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
