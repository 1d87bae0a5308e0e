"""Which processors are faster in bfloat16, told from what Linux lists of them."""

from pathlib import Path

import pytest

from shared.processes.cpu import favours_bfloat16

LISTED = "processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: some: processor\nflags\t\t: fpu avx512f {flags}\n\n"


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("GenuineIntel", "avx512_bf16 amx_bf16 amx_tile", True),
        ("GenuineIntel", "avx512_bf16", False),
        ("AuthenticAMD", "avx512_bf16", True),
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_tiles_and_amds_vectors_favour_bfloat16(tmp_path: Path, vendor: str, flags: str, expected: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(2 * LISTED.format(vendor=vendor, flags=flags))
    assert favours_bfloat16(cpuinfo) is expected


def test_what_lists_nothing_gets_float32(tmp_path: Path) -> None:
    assert not favours_bfloat16(tmp_path / "absent")
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert not favours_bfloat16(tmp_path / "arm")
