"""All that a page may need, loaded before the web server takes its first request.

Django reads the URLs with the first request, and each template and many a module with the first page that needs it.
When a new version was put over a running one by then, that page is a mixture of both, which mostly answers 500.
"""

from importlib import import_module
from pathlib import Path

from django.template import Engine, engines
from django.urls import URLResolver, get_resolver

# What is imported, or named by a setting, inside of functions that requests run.
_LATE_MODULES = (
    "accounts.forms",
    "accounts.sign_in.hashing",
    "accounts.second_factor.passkey_forms",
    "accounts.sessions",
    "axes.backends",
    "django.conf.locale.en.formats",
    "django.contrib.admin.forms",
    "django.contrib.auth.backends",
    "django.contrib.auth.context_processors",
    "django.contrib.auth.password_validation",
    "django.contrib.messages.context_processors",
    "django.core.mail.backends.smtp",
    "django.template.context_processors",
    "django.views.defaults",
    "installation.attention",
    "events_platform.formats.en.formats",
    "rest.caching",
)


def load_pages() -> None:
    """Import every view and parse every template of ours; a fault in one stops the start."""
    for name in _LATE_MODULES:
        import_module(name)
    _load_urls(get_resolver())
    # Templates go into the cache of the loader that Django puts around all others. Those of the checkout: a new version
    # of it leaves the installed packages alone, whose templates take 4 MiB more.
    engine: Engine = engines["django"].engine  # type: ignore[attr-defined] # it is Django's own
    for folder in (Path(str(each)) for each in engine.dirs):
        for file in sorted(folder.rglob("*.*")):
            engine.get_template(str(file.relative_to(folder)))


def _load_urls(resolver: URLResolver) -> None:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            _load_urls(pattern)
    # The names, which `reverse` looks up.
    _ = resolver.reverse_dict
