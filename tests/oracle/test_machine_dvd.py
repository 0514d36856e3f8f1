"""The provisioning DVD, read by blkid and by pycdlib's own reader."""

import io
from pathlib import Path

import pycdlib
import pytest

from vmstamp.machine.media import build_dvd
from vmstamp.run import run

FILES = {"ovf-env.xml": b"<ns0:Environment/>" * 9000, "CustomData.bin": bytes(range(256)) * 300}


def blkid(path: Path) -> dict[str, str]:
    text = run(["blkid", "-p", "-o", "export", path]).text
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_the_medium_is_udf_alone(tmp_path: Path) -> None:
    build_dvd(FILES, tmp_path / "dvd.iso")
    found = blkid(tmp_path / "dvd.iso")
    assert found["TYPE"] == "udf"
    assert found["LABEL"] == "rd_rdfe_stable"
    assert b"CD001" not in (tmp_path / "dvd.iso").read_bytes()


@pytest.mark.parametrize("kind", ["bridge", "iso9660"])
def test_other_media_are_iso_9660(tmp_path: Path, kind: str) -> None:
    build_dvd(FILES, tmp_path / "dvd.iso", kind)
    assert b"CD001" in (tmp_path / "dvd.iso").read_bytes()
    medium = pycdlib.PyCdlib()
    medium.open(str(tmp_path / "dvd.iso"))
    for name, content in FILES.items():
        read = io.BytesIO()
        medium.get_file_from_iso_fp(read, joliet_path=f"/{name}")
        assert read.getvalue() == content
    medium.close()


def test_files_read_back_by_udf(tmp_path: Path) -> None:
    """pycdlib reads UDF beside ISO only, so the bridge disc is read; the UDF part is the same bytes."""
    build_dvd(FILES, tmp_path / "bridge.iso", "bridge")
    medium = pycdlib.PyCdlib()
    medium.open(str(tmp_path / "bridge.iso"))
    for name, content in FILES.items():
        read = io.BytesIO()
        medium.get_file_from_iso_fp(read, udf_path=f"/{name}")
        assert read.getvalue() == content
    medium.close()


def test_a_medium_is_for_its_owner_alone(tmp_path: Path) -> None:
    build_dvd(FILES, tmp_path / "dvd.iso")
    assert (tmp_path / "dvd.iso").stat().st_mode & 0o077 == 0


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'floppy'"):
        build_dvd(FILES, tmp_path / "dvd.iso", "floppy")
