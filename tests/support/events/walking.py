"""The list of events, page by page."""

from tests.conftest import Tenant

MOST_PAGES = 40


def walk(tenant: Tenant, query: str, *, limit: int = 2) -> tuple[list[str], list[int]]:
    """The ids of all pages, and how many events each had."""
    found: list[str] = []
    sizes: list[int] = []
    cursor = ""
    while True:
        page = tenant.get(f"/api/v1/events?limit={limit}&{query}{cursor}").json()
        found += [event["id"] for event in page["data"]]
        sizes.append(len(page["data"]))
        if page["next_cursor"] is None:
            return found, sizes
        cursor = f"&cursor={page['next_cursor']}"
        assert len(sizes) <= MOST_PAGES, "the walk does not end"
