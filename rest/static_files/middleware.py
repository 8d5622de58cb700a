"""Answers for the names of `rest.static_files.storage`; WhiteNoise answers for all others."""

import re
from io import BytesIO
from typing import cast

from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import FileResponse, HttpRequest, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware

from rest.static_files.storage import HashedFile, HashedStaticFilesStorage, name_without_hash

_HEADERS = {
    "Cache-Control": "max-age=31536000, public, immutable",
    "Content-Encoding": "gzip",
    "Vary": "Accept-Encoding",
}
_REFUSES_GZIP = re.compile(r"\bgzip\s*;\s*q=0(\.0*)?\s*(,|$)")


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc] # WhiteNoise has no types
    """What has a hash in its name is kept by browsers for a year; a hash of another version gets the present file.

    Pages of the version before are still open, or served by another process, while a new one is put in place.
    """

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        name = request.path_info.removeprefix(self.static_prefix)
        if name != request.path_info and (plain := name_without_hash(name)) is not None:
            file = cast(HashedStaticFilesStorage, staticfiles_storage).file(plain)
            if file is not None and file.hashed_name == name and _takes_compressed(request):
                return self._answer(file)
            request.path_info = self.static_prefix + plain
        return cast(HttpResponseBase, super().__call__(request))

    def _answer(self, file: HashedFile) -> FileResponse:
        """In pieces, as the client takes them: all of them share one copy."""
        content_type = f"{self.media_types.get_type(file.hashed_name)}; charset=utf-8"
        return FileResponse(BytesIO(file.compressed), content_type=content_type, headers=_HEADERS)


def _takes_compressed(request: HttpRequest) -> bool:
    """As every browser does. What asks for something else has no use for a year's caching, either."""
    accepted = request.headers.get("Accept-Encoding", "")
    return request.method in ("GET", "HEAD") and "gzip" in accepted and not _REFUSES_GZIP.search(accepted)
