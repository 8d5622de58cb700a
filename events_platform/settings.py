"""Settings, read once from the environment. A missing or bad value stops the start with a line that names it.

Every variable is listed in docs/settings.md; a test compares the two.
"""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from environs import validate

from core.broker.brokers import queue_type, transport_options
from core.environment import Environment, refuse_unsafe
from events_platform import values
from events_platform.api_settings import REST_FRAMEWORK, SPECTACULAR_SETTINGS  # noqa: F401 - settings, too
from events_platform.beat_schedule import SCHEDULE
from observability.logs import FORMATS, LEVELS, configuration

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment()

# --- The process ---------------------------------------------------------------------------------------------

DEBUG: bool = env.bool("DEBUG", False)
SECRET_KEY: str = env.str("SECRET_KEY", validate=validate.Length(min=32))
SECRET_KEY_FALLBACKS: list[str] = env.list("SECRET_KEY_FALLBACKS", [], subcast=values.old_secret_key)
PUBLIC_URL: str = env.str("PUBLIC_URL", "http://127.0.0.1:8000", validate=validate.URL(require_tld=False)).rstrip("/")
_public = urlsplit(PUBLIC_URL)
HTTPS: bool = _public.scheme == "https"
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]", _public.hostname or ""])
LOG_LEVEL: str = env.str("LOG_LEVEL", "INFO", validate=validate.OneOf(LEVELS))

ROOT_URLCONF = "events_platform.urls"
WSGI_APPLICATION = "events_platform.wsgi.application"
ASGI_APPLICATION = "events_platform.asgi.application"
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "lifecycle",
    "installation",
    "demo",
    # What they register is called in this order.
    "ingestion",
    "organizations",
    "delivery",
    "notifications",
    "console",
    "portal",
    "rest",
    "events_platform.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.forms",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "axes",
    "csp",
    "drf_spectacular_sidecar",
    "rest_framework",
    # The last one: its groups hold permissions of all the others.
    "accounts",
]

MIDDLEWARE = [
    "ingestion.middleware.BookkeepingMiddleware",
    "rest.middleware.RequestIdMiddleware",
    "rest.observing.ObservingMiddleware",
    "organizations.middleware.RateLimitMiddleware",
    "core.postgresql.lending.GiveBackMiddleware",
    "rest.middleware.ProblemMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "rest.doors.page_headers.PageHeadersMiddleware",
    "csp.middleware.CSPMiddleware",
    "rest.static_files.middleware.StaticFilesMiddleware",
    "rest.doors.dear_headers.CookieMiddleware",
    "rest.doors.form_charset.FormCharsetMiddleware",
    "accounts.sign_in.limits.SignInLimitsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.RotatedSecretKeyMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.SecondFactorMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "core.version.in_templates",
            ],
        },
    },
]

# So that templates/ may hold those of widgets.
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

# --- PostgreSQL ----------------------------------------------------------------------------------------------


_DATABASE_URL = env.str("DATABASE_URL")
_default_database = values.database(_DATABASE_URL)
# Seconds; the entrances of web servers and workers set their own. Commands and migrations take as long as they take.
DATABASE_STATEMENT_TIMEOUT: int = env.int("DATABASE_STATEMENT_TIMEOUT", 0, validate=validate.Range(min=0, max=3600))
DATABASE_TRANSACTION_POOLING: bool = env.bool("DATABASE_TRANSACTION_POOLING", False)
_options = _default_database["OPTIONS"]
# libpq leaves PGOPTIONS out where there are options.
DATABASE_SESSION_OPTIONS = " ".join(filter(None, [env.str("PGOPTIONS", ""), _options.get("options")]))
if DATABASE_TRANSACTION_POOLING:
    values.refuse_session_options(DATABASE_SESSION_OPTIONS)
    # A pooler takes none: they belong to the role (docs/operations/scaling.md).
    _options["options"] = ""
else:
    _options["options"] = values.session_options(
        given=DATABASE_SESSION_OPTIONS, statement_seconds=DATABASE_STATEMENT_TIMEOUT
    )
# Only the web server pools: its threads would keep a connection each. A process of a worker has one thread for tasks,
# which keeps its connection.
DATABASE_POOL_SIZE: int = env.int("DATABASE_POOL_SIZE", 0, validate=validate.Range(min=0, max=500))
if DATABASE_POOL_SIZE:
    # A connection that cannot be had now is not worth the wait: whoever asked hears of it, and asks again.
    _options["pool"] = {
        "min_size": 1,
        "max_size": DATABASE_POOL_SIZE,
        "timeout": 3,
        "reconnect_timeout": 3,
        "max_lifetime": 600,
    }
else:
    _default_database["CONN_MAX_AGE"] = 600
    _default_database["CONN_HEALTH_CHECKS"] = True
_template = env.str("TEST_DATABASE_TEMPLATE", "")
_default_database["TEST"] = {"TEMPLATE": _template} if _template else {}
DATABASES = {"default": _default_database}

# Weekly range partitions by event id, made this many weeks ahead (see docs/adr/0003).
PARTITIONED_TABLES = ("ingestion_event", "delivery_delivery", "delivery_attempt")

# --- Redis and Celery ----------------------------------------------------------------------------------------

REDIS_URL: str = env.str("REDIS_URL")
CACHES = {
    "default": {
        # While Redis is away each process has a cache of its own: what limits guesses goes on.
        "BACKEND": "rest.caching.FailoverCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": 1,
            "SOCKET_TIMEOUT": 1,
            # The default is pickle: whoever writes to Redis would run code here.
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        },
        # What processes of another form have put there is not read.
        "VERSION": 2,
    }
}

CELERY_BROKER_URL: str = env.str("CELERY_BROKER_URL", REDIS_URL, validate=values.broker)
if HTTPS:
    refuse_unsafe(
        debug=DEBUG,
        secrets={
            "SECRET_KEY": SECRET_KEY,
            "SECRET_KEY_FALLBACKS": ",".join(SECRET_KEY_FALLBACKS),
            "DATABASE_URL": _DATABASE_URL,
            "REDIS_URL": REDIS_URL,
            "CELERY_BROKER_URL": CELERY_BROKER_URL,
            "EMAIL_URL": env.str("EMAIL_URL", ""),
            "METRICS_TOKEN": env.str("METRICS_TOKEN", ""),
        },
    )
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = transport_options(CELERY_BROKER_URL)
# What Redis answers while it fails (read-only, out of memory) is no reason to end.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
# Of AMQP. Two that are missing end the connection.
CELERY_BROKER_HEARTBEAT = 10
CELERY_TASK_DEFAULT_QUEUE_TYPE = CELERY_TASK_CREATE_MISSING_QUEUE_TYPE = queue_type(CELERY_BROKER_URL)
# Messages are wake-ups: one that cannot be sent within a moment is dropped, and the sweep does its work.
# Once more at once, since the first try may find a connection that ended long ago; RabbitMQ's are only renewed so.
CELERY_TASK_PUBLISH_RETRY = True
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
CELERY_TASK_IGNORE_RESULT = True
# Never pickle: whoever writes to the broker would run code here.
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 300
CELERY_TASK_SOFT_TIME_LIMIT = 240
# Of the worker for `events`; the sender's command line says 1, as one process sends hundreds at once.
CELERY_WORKER_CONCURRENCY: int = env.int("WORKER_CONCURRENCY", 2, validate=validate.Range(min=1, max=256))
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# A task that runs while the connection is lost may run twice, as any: ending its process would only lose its work.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_CONSUMER = "core.broker.consumer:Consumer"
# Touched by workers, senders and beat while they make progress: for probes of containers. None when empty.
LIVENESS_FILE: str = env.str("LIVENESS_FILE", "")
# Nobody asks workers anything through the broker, so they need not listen.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_TASK_DEFAULT_QUEUE = "events"
# Sending waits for other people's servers: its worker is another one, so that processing never waits for them.
SENDING_QUEUE = "deliveries"
CELERY_TASK_ROUTES = {"delivery.send_due": {"queue": SENDING_QUEUE}}
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = SCHEDULE
# In memory. A file would remember times of a clock that was wrong, and beat would send nothing until they have come.
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"

# --- The product ---------------------------------------------------------------------------------------------


API_KEY_ENVIRONMENT: str = env.str(
    "API_KEY_ENVIRONMENT", "live", validate=validate.Regexp(r"^[a-z]{2,10}$", error="two to ten letters a-z")
)
# The longest that a revoked key may still be accepted by a process that has just seen it (contract: 2 s).
API_KEY_CACHE_SECONDS = 1.5
# Of one CPU in each process of the web server: for decoding large bodies, and again for schemas.
ORGANIZATION_CPU_PERCENT: float = env.float("ORGANIZATION_CPU_PERCENT", 10.0, validate=validate.Range(min=1, max=100))
IDEMPOTENCY_HOURS: int = env.int("IDEMPOTENCY_HOURS", 24, validate=validate.Range(min=1, max=720))
# How far ahead an event's deliver_at or delay_seconds may be.
SCHEDULE_MAX_DAYS: int = env.int("SCHEDULE_MAX_DAYS", 30, validate=validate.Range(min=1, max=365))
PROCESSING_MAX_ATTEMPTS: int = env.int("PROCESSING_MAX_ATTEMPTS", 8, validate=validate.Range(min=1, max=100))
WEBHOOK_ALLOW_HTTP: bool = env.bool("WEBHOOK_ALLOW_HTTP", False)
WEBHOOK_ALLOWED_NETWORKS: list[IPv4Network | IPv6Network] = env.list(
    "WEBHOOK_ALLOWED_NETWORKS", [], subcast=values.network
)
WEBHOOK_DENIED_NETWORKS: list[IPv4Network | IPv6Network] = env.list(
    "WEBHOOK_DENIED_NETWORKS", [], subcast=values.network
)
# Those of the system when it names none.
WEBHOOK_NAME_SERVERS: list[str] = env.list("WEBHOOK_NAME_SERVERS", [], subcast=values.name_server)
WEBHOOK_PROXY: str = env.str("WEBHOOK_PROXY", "", validate=values.proxy)
WEBHOOK_CA_FILE: str = env.str("WEBHOOK_CA_FILE", "", validate=values.certificates)
WEBHOOK_TIMEOUT_SECONDS: float = env.float("WEBHOOK_TIMEOUT_SECONDS", 15.0, validate=validate.Range(min=1, max=60))
# 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h: three days and four hours in all.
WEBHOOK_RETRY_SCHEDULE: list[int] = env.list(
    "WEBHOOK_RETRY_SCHEDULE",
    [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400],
    subcast=values.retry_wait,
    validate=validate.Length(min=1, max=50),
)
# For how many days things are kept; events by their organization's plan (docs/operations/retention.md).
_days = validate.Range(min=1, max=3_650)
# 0: as long as their events. A shorter time leaves out what has not been delivered yet.
DELIVERY_RETENTION_DAYS: int = env.int("DELIVERY_RETENTION_DAYS", 0, validate=validate.Range(min=0, max=3_650))
# Usage is told for the last 30 days.
STATS_RETENTION_DAYS: int = env.int("STATS_RETENTION_DAYS", 400, validate=validate.Range(min=31, max=3_650))
INTAKE_COUNT_RETENTION_DAYS: int = env.int(
    "INTAKE_COUNT_RETENTION_DAYS", 35, validate=validate.Range(min=31, max=3_650)
)
# After the last event of a type that nobody described; never sooner than its events leave.
EVENT_TYPE_RETENTION_DAYS: int = env.int("EVENT_TYPE_RETENTION_DAYS", 90, validate=_days)
# After its end; until then a request with it is told that it was revoked or has expired.
KEY_RETENTION_DAYS: int = env.int("KEY_RETENTION_DAYS", 365, validate=_days)
AUDIT_RETENTION_DAYS: int = env.int("AUDIT_RETENTION_DAYS", 730, validate=_days)
INVITATION_RETENTION_DAYS: int = env.int("INVITATION_RETENTION_DAYS", 30, validate=_days)
REPLAY_RETENTION_DAYS: int = env.int("REPLAY_RETENTION_DAYS", 90, validate=_days)
LOGIN_RETENTION_DAYS: int = env.int("LOGIN_RETENTION_DAYS", 90, validate=_days)
# What the files of all exports take in PostgreSQL together.
EXPORTS_MAX_GIB: int = env.int("EXPORTS_MAX_GIB", 10, validate=validate.Range(min=1, max=10_000))
FIELD_ENCRYPTION_KEYS: list[str] = env.list("FIELD_ENCRYPTION_KEYS", [], subcast=values.fernet_key)

# The largest request body that anything reads into memory; the API's own limits are lower.
DATA_UPLOAD_MAX_MEMORY_SIZE = 6 * 1024 * 1024
# Nothing of a request is written to a disk: bodies fit into memory, and no form takes a file.
FILE_UPLOAD_MAX_MEMORY_SIZE = DATA_UPLOAD_MAX_MEMORY_SIZE
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]

# --- People, sessions, browsers ------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = ["accounts.sign_in.hashing.BoundedPasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "console:sign-in"
LOGIN_REDIRECT_URL = "console:home"
LOGOUT_REDIRECT_URL = "console:sign-in"

# Ten failures of one user name from one address lock that pair for a quarter of an hour: a stranger cannot lock
# the owner out from elsewhere.
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "locked_out.html"
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
# The address is the connection's own, or what trusted proxies saw; never what anyone can write.
AXES_CLIENT_IP_CALLABLE = "rest.doors.client_address.client_network"
TRUSTED_PROXIES: int = env.int("TRUSTED_PROXIES", 0, validate=validate.Range(min=0, max=5))

# The second factor, by allauth (docs/adr/0009). Signing in stays Django's.
REQUIRE_STAFF_MFA: bool = env.bool("REQUIRE_STAFF_MFA", HTTPS)
ACCOUNT_ADAPTER = "accounts.second_factor.adapters.AccountAdapter"
ACCOUNT_RATE_LIMITS = {"login": "60/m/ip"}  # every form of accounts.sign_in.limits that one address sends
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
MFA_ADAPTER = "accounts.second_factor.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_FORMS = {
    "reauthenticate": "accounts.forms.ConfirmForm",
    "reauthenticate_webauthn": "accounts.second_factor.passkey_forms.ConfirmPasskeyForm",
    "add_webauthn": "accounts.second_factor.passkey_forms.AddPasskeyForm",
    "edit_webauthn": "accounts.second_factor.passkey_forms.RenamePasskeyForm",
}
MFA_TOTP_TOLERANCE = 1  # a code may be one step of 30 s early or late: clocks differ, and people type
MFA_TOTP_ISSUER = "Events Platform"
MFA_ALLOW_UNVERIFIED_EMAIL = True  # accounts are made by people who know their owners
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HTTPS
# A link in a mail signs nobody in, and is good for a day.
PASSWORD_RESET_TIMEOUT = 24 * 3600

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
# With this prefix browsers take a cookie from nobody but this very host, over TLS: no neighbour can plant one.
_prefix = "__Host-" if HTTPS else ""
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"{_prefix}sessionid", f"{_prefix}csrftoken"
# Forms hold the token; no script reads it.
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_AGE = 14 * 24 * 3600
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
SECURE_SSL_REDIRECT = False if not HTTPS else env.bool("SECURE_SSL_REDIRECT", True)
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics$"]
# Short: nobody can take back what browsers were told, and other names of the domain may still speak plain HTTP.
HSTS_SECONDS: int = env.int("HSTS_SECONDS", 3600, validate=validate.Range(min=0, max=values.TWO_YEARS))
SECURE_HSTS_SECONDS = HSTS_SECONDS if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS: bool = env.bool("HSTS_INCLUDE_SUBDOMAINS", False)
SECURE_HSTS_PRELOAD: bool = env.bool("HSTS_PRELOAD", False)
values.refuse_preload(HSTS_SECONDS, subdomains=SECURE_HSTS_INCLUDE_SUBDOMAINS, preload=SECURE_HSTS_PRELOAD)
# "No subdomains" and "no preload": whoever runs the platform decides on these, and not by accident.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

# --- Mail ----------------------------------------------------------------------------------------------------


_mail = urlsplit(env.str("EMAIL_URL", "console:", validate=values.mail_server))
values.refuse_mail_in_logs(_mail.scheme, https=HTTPS, wanted=env.bool("EMAIL_TO_LOG", False))
EMAIL_BACKEND = f"django.core.mail.backends.{'console' if _mail.scheme == 'console' else 'smtp'}.EmailBackend"
EMAIL_HOST = _mail.hostname or "localhost"
EMAIL_PORT = _mail.port or values.MAIL_PORTS.get(_mail.scheme, 25)
EMAIL_HOST_USER = unquote(_mail.username or "")
EMAIL_HOST_PASSWORD = unquote(_mail.password or "")
EMAIL_USE_TLS = _mail.scheme == "smtp+tls"
EMAIL_USE_SSL = _mail.scheme == "smtps"
EMAIL_TIMEOUT = 15
DEFAULT_FROM_EMAIL: str = env.str("DEFAULT_FROM_EMAIL", f"Events platform <events@{_public.hostname}>")
# Of the time zone of the person who wants a daily mail of notices.
NOTICE_DAILY_HOUR: int = env.int("NOTICE_DAILY_HOUR", 8, validate=validate.Range(min=0, max=23))

# --- Language, time, static files ----------------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["events_platform.formats"]

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# The files are served from where they lie: no collecting step, no second copy.
WHITENOISE_USE_FINDERS = True
STORAGES = {"staticfiles": {"BACKEND": "rest.static_files.storage.HashedStaticFilesStorage"}}

# --- Traces --------------------------------------------------------------------------------------------------

# OpenTelemetry reads its other variables itself (docs/traces.md).
_OTEL_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "")
OTEL_TRACES_EXPORTER: str = env.str(
    "OTEL_TRACES_EXPORTER",
    "otlp" if _OTEL_ENDPOINT else "none",
    validate=validate.OneOf(["none", "otlp", "console"]),
)
# A process that ends waits about so long for a collector that is away. OpenTelemetry's own default is 10.
OTEL_EXPORTER_OTLP_TIMEOUT: float = env.float("OTEL_EXPORTER_OTLP_TIMEOUT", 3.0, validate=validate.Range(min=1, max=60))

# --- Logs ----------------------------------------------------------------------------------------------------

LOGGING: dict[str, Any] = configuration(
    level=LOG_LEVEL, style=env.str("LOG_FORMAT", "auto", validate=validate.OneOf(FORMATS))
)
# `summary`: a line for each request, but the good ones of the intake share one a second.
LOG_REQUESTS: str = env.str("LOG_REQUESTS", "summary", validate=validate.OneOf(["all", "summary", "errors", "none"]))
LOG_ATTEMPTS: str = env.str("LOG_ATTEMPTS", "summary", validate=validate.OneOf(["all", "summary", "errors", "none"]))

# --- Metrics -------------------------------------------------------------------------------------------------


METRICS_TOKEN: str = env.str("METRICS_TOKEN", "", validate=values.metrics_token)
# Of Celery's workers, where no web server runs on their host; 0 is none.
METRICS_PORT: int = env.int("METRICS_PORT", 0, validate=validate.Range(min=0, max=65535))
METRICS_HOST: str = env.str("METRICS_HOST", "127.0.0.1")
if METRICS_PORT and METRICS_HOST not in ("127.0.0.1", "::1", "localhost") and not METRICS_TOKEN:
    raise ImproperlyConfigured("METRICS_HOST is not loopback: set METRICS_TOKEN, which everyone else must show.")
