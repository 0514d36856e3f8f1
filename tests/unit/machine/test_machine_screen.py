"""Pictures of a screen."""

import pytest

from vmstamp.machine.screen import bitmap

RED, GREEN, BLUE = b"\xff\0\0", b"\0\xff\0", b"\0\0\xff"


def test_a_picture_keeps_its_colours_and_its_rows() -> None:
    made = bitmap(b"P6\n3 2\n255\n" + RED + GREEN + BLUE + BLUE + BLUE + BLUE)
    assert made[:2] == b"BM" and int.from_bytes(made[2:6], "little") == len(made)
    assert int.from_bytes(made[18:22], "little") == 3 and int.from_bytes(made[22:26], "little") == 2
    pixels = made[int.from_bytes(made[10:14], "little") :]
    bottom, top = pixels[:12], pixels[12:]
    assert bottom == b"\xff\0\0" * 3 + bytes(3)
    assert top == b"\0\0\xff\0\xff\0\xff\0\0" + bytes(3)


@pytest.mark.parametrize("wrong", [b"", b"P5 1 1 255 x", b"P6 2 2 255 " + RED, b"P6 1 1 65535 " + RED * 2])
def test_what_is_no_picture_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError):
        bitmap(wrong)
