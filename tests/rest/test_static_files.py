"""Files of the pages: named after their content, compressed, kept for a year; other names go on working."""

import gzip
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import StreamingHttpResponse
from django.test import Client

from installation.local.data_dir import CHECKOUT
from rest.static_files.storage import HashedStaticFilesStorage

SCRIPT = (CHECKOUT / "static/console.js").read_bytes()
PAGES = ("/console/sign-in/", "/admin/login/", "/api/docs", "/portal/")


def body(response: object) -> bytes:
    assert isinstance(response, StreamingHttpResponse)
    return response.getvalue()


@pytest.mark.django_db
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_compressed_and_never_asked_for_again(page: str) -> None:
    browser = Client(headers={"Accept-Encoding": "gzip, deflate, br"})
    named = re.findall(r'(?:href|src)="(/static/[^"]+)"', browser.get(page, follow=True).content.decode())
    assert len(named) >= 2
    for url in named:
        answer = browser.get(url)
        assert answer.status_code == 200, url
        if url.endswith(".png"):
            continue
        assert re.fullmatch(r"/static/.+\.[0-9a-f]{12}\.(css|js|svg)", url)
        assert (answer["Content-Encoding"], answer["Vary"]) == ("gzip", "Accept-Encoding")
        assert answer["Cache-Control"] == "max-age=31536000, public, immutable"
        content = body(answer)
        assert int(answer["Content-Length"]) == len(content)
        path = finders.find(re.sub(r"\.[0-9a-f]{12}\.", ".", url.removeprefix("/static/")))
        assert path is not None
        assert gzip.decompress(content) == Path(path).read_bytes()


@pytest.mark.parametrize("name", ["console.js", "console.0123456789ab.js"])
def test_the_names_of_another_version_get_the_present_file_for_a_minute(name: str) -> None:
    """Pages that are open, or that a process of the other version has made."""
    answer = Client().get(f"/static/{name}", headers={"Accept-Encoding": "gzip"})
    assert (answer.status_code, answer["Cache-Control"]) == (200, "max-age=60, public")
    assert body(answer) == SCRIPT


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0, br"])
def test_a_client_that_takes_no_gzip_gets_the_file_itself(accepted: str) -> None:
    answer = Client().get(staticfiles_storage.url("console.js"), headers={"Accept-Encoding": accepted})
    assert (answer.status_code, body(answer)) == (200, SCRIPT)
    assert "Content-Encoding" not in answer


def test_a_changed_file_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "page.css"
    monkeypatch.setattr(finders, "find", lambda _name: str(file))
    names = set()
    for content in ("a { color: red }", "a { color: green }"):
        file.write_text(content)
        names.add(HashedStaticFilesStorage().url("page.css"))
    assert len(names) == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name", ["none.css", "none.0123456789ab.css", "../manage.0123456789ab.js", "admin.0123456789ab.js"]
)
def test_what_is_not_there_is_not_found(name: str) -> None:
    assert Client(raise_request_exception=False).get(f"/static/{name}").status_code == 404


def test_only_reading_is_allowed() -> None:
    assert Client().post(staticfiles_storage.url("console.js")).status_code == 405
    assert Client().head(staticfiles_storage.url("console.js"), headers={"Accept-Encoding": "gzip"}).status_code == 200
