"""docs/operations/faults.md shows the table as it is."""

from tests.faults import page
from tests.faults.proof import Finding
from tests.faults.scenarios import SCENARIOS


def test_the_page_has_every_row_of_the_table() -> None:
    """Else: `make faults TABLE=1`."""
    rows = [
        line.split(" | ")[0].removeprefix("| ") for line in page.PAGE.read_text().splitlines() if line.startswith("| ")
    ]
    assert rows[2:] == [one.title for one in SCENARIOS]


def test_each_row_has_a_name_and_a_title_of_its_own() -> None:
    assert len({one.name for one in SCENARIOS}) == len({one.title for one in SCENARIOS}) == len(SCENARIOS)


def test_a_row_that_was_not_run_says_why_and_one_that_does_not_hold_says_so() -> None:
    held, failed, skipped = SCENARIOS[:3]
    findings = {
        held.name: Finding(acknowledged=1200, stored=1200, delivered=1200, repeated=3, drained_after=4.2, ready="200"),
        failed.name: Finding(ready="200", problems=["not drained"]),
    }
    table = page.table(findings, SCENARIOS[:3], {skipped.name: "Skipped: not root"}).splitlines()[2:]
    assert table == [
        f"| {held.title} | 1 200 | 1 200 | 1 200 | 3 | 4 s | 200 |",
        f"| {failed.title} | 0 | 0 | 0 | 0 | not | 200 **does not hold** |",
        f"| {skipped.title} |  |  |  |  |  | not run: Skipped: not root |",
    ]
