"""What the processor is good at, by its flags. A benchmark at start gave random results on busy machines."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
TILES, VECTORS = "amx_bf16", "avx512_bf16"  # flags in /proc/cpuinfo
FULL_RATE = "AuthenticAMD"  # their vectors multiply bfloat16 faster than float32


def favours_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Returns True if bfloat16 multiplies faster than float32 here: by tiles, or by AMD's vectors.

    An Intel Xeon with AVX512-BF16 and without AMX took 1.75 times as long in bfloat16; an EPYC with the same flag was
    faster in it (docs/decisions/0018). A processor that lists no flags gets float32.
    """
    first = _first_processor(cpuinfo)
    flags = first.get("flags", "").split()
    return TILES in flags or (VECTORS in flags and first.get("vendor_id") == FULL_RATE)


def _first_processor(cpuinfo: Path) -> dict[str, str]:
    """Empty if the system has no such file."""
    if not cpuinfo.exists():
        return {}
    block = cpuinfo.read_text(errors="replace").split("\n\n")[0]
    fields = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}
