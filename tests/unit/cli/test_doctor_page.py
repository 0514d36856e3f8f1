"""docs/doctor.md says what the checks' records say."""

from __future__ import annotations

from tests import doctor_page


def test_the_page_has_the_records_of_all_checks() -> None:
    text = doctor_page.FILE.read_text()
    assert doctor_page.page(text) == text, "run python -m tests.doctor_page"
