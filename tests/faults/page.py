"""The table of docs/operations/faults.md, from one run of every row."""

from collections.abc import Mapping, Sequence

from installation.local.data_dir import CHECKOUT
from tests.faults.proof import Finding
from tests.faults.scenarios import Scenario

PAGE = CHECKOUT / "docs/operations/faults.md"
_BEGIN = "<!-- table: written by `make faults TABLE=1` -->"
_COLUMNS = ("fault", "acknowledged", "stored", "delivered", "repeated", "drained after", "`/health/ready` said")


def table(findings: Mapping[str, Finding], scenarios: Sequence[Scenario], skipped: Mapping[str, str]) -> str:
    """A row for each scenario, in Markdown."""
    lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    for scenario in scenarios:
        if finding := findings.get(scenario.name):
            lines.append(_line([scenario.title, *_cells(finding)]))
        else:
            lines.append(_line([scenario.title, *[""] * 5, f"not run: {skipped.get(scenario.name, 'left out')}"]))
    return "\n".join(lines)


def write(findings: Mapping[str, Finding], scenarios: Sequence[Scenario], skipped: Mapping[str, str]) -> None:
    """Put the table in the place of the one that the page has."""
    before, _, _ = PAGE.read_text().partition(_BEGIN)
    PAGE.write_text(f"{before}{_BEGIN}\n{table(findings, scenarios, skipped)}\n")


def _cells(finding: Finding) -> list[str]:
    numbers = [finding.acknowledged, finding.stored, finding.delivered, finding.repeated]
    after = "not" if finding.drained_after is None else f"{finding.drained_after:.0f} s"
    held = " **does not hold**" if finding.problems else ""
    return [*(f"{number:,}".replace(",", " ") for number in numbers), after, finding.ready + held]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
