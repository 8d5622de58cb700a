#!/bin/bash
# Installs the platform on one plain server with systemd (Debian 12 and 13, Ubuntu 24.04), upgrades it, takes it back.
# Each step says what it does; what is there already stays. docs/operations/deploy.md explains it.
set -euo pipefail
umask 022

readonly HOME_DIR=/opt/events-platform ETC=/etc/events-platform UNITS=/etc/systemd/system
readonly FIRST_LOGIN=$ETC/first-login BACKUPS=/var/backups/events-platform
readonly LIVE_SECONDS=60 SETTLE_SECONDS=45 KEPT_RELEASES=3
SOURCE=$(cd -P "$(dirname "$0")/.." && pwd)
readonly SOURCE

usage() {
    cat <<'USAGE'
install.sh install --url https://events.example.com [OPTION …]
  --admin NAME             user name of the first administrator (default: admin)
  --organization SLUG      name of the first organization (default: main)
  --proxy caddy|nginx|none the proxy that ends TLS (default: caddy, which gets the certificate itself)
  --certificate FILE       a certificate of your own, with its chain, and
  --key FILE               its private key; nginx needs them
  --email-url-file FILE    a file with the value of EMAIL_URL (default: mails go to the journal)
  --database-url-file FILE a PostgreSQL of your own (default: Debian's, on this server)
  --redis-url-file FILE    a Redis of your own (default: Debian's, on this server)
install.sh upgrade [--no-backup] [--force]
                           install this checkout as a new release beside the one that runs, and change over to it
install.sh rollback        change back to the release before

Each takes --dry-run: say what would be done, and do nothing.
USAGE
}

# --- Saying and doing ----------------------------------------------------------------------------------------

DRY_RUN=
say() { printf '   %s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

run() {
    if [ -n "$DRY_RUN" ]; then
        say "would run: $*"
    else
        "$@"
    fi
}

# What the command prints is shown only when it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    [ $status -eq 0 ] || tail -n 30 "$log" >&2
    rm -f "$log"
    return $status
}

# write FILE MODE GROUP: what comes on standard input, unless it stands there already. Fails when nothing changed.
write() {
    local file=$1 mode=$2 group=$3 new
    new=$(cat && printf x)
    new=${new%x}
    if [ -f "$file" ] && cmp -s "$file" <(printf %s "$new"); then
        return 1
    fi
    if [ -n "$DRY_RUN" ]; then
        say "would write: $file"
        return
    fi
    say "$file"
    install -D -m "$mode" -o root -g "$group" /dev/null "$file.new"
    printf %s "$new" >"$file.new"
    mv "$file.new" "$file"
}

# --- The parts of an installation ----------------------------------------------------------------------------

install_packages() {
    local packages=(ca-certificates curl openssl python3 python3-venv)
    [ -n "$DATABASE_URL_SOURCE" ] || packages+=(postgresql)
    [ -n "$REDIS_URL_SOURCE" ] || packages+=(redis-server)
    [ "$PROXY" = none ] || packages+=("$PROXY")
    local missing=() package
    for package in "${packages[@]}"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    step "Packages: ${packages[*]}"
    if [ ${#missing[@]} -eq 0 ]; then
        say "all there"
        return
    fi
    export DEBIAN_FRONTEND=noninteractive
    run quietly apt-get update -qq
    run quietly apt-get install --yes -qq --no-install-recommends "${missing[@]}"
}

make_account() {
    step "User events"
    if getent passwd events >/dev/null; then
        say "already there"
    else
        run useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin events
    fi
    # PostgreSQL's and Redis' sockets on this server are open to users by name and by group.
    [ -n "$REDIS_URL_SOURCE" ] || run usermod --append --groups redis events
    run install -d -m 755 "$HOME_DIR" "$HOME_DIR/releases"
    run install -d -m 750 -g events "$ETC"
    run install -d -m 750 -o events -g events "$BACKUPS"
}

# Names the release of this checkout in RELEASE, and puts it in place: its files, and its own environment of Python.
place_release() {
    REVISION=$(source_revision)
    RELEASE=$HOME_DIR/releases/$(sed -n 's/^VERSION = "\(.*\)"$/\1/p' "$SOURCE/core/version.py")-$REVISION
    step "Release $(basename "$RELEASE")"
    if [ -e "$RELEASE/.complete" ]; then
        say "already in $RELEASE"
        return
    fi
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || [ -n "$DRY_RUN" ] ||
        fail "Python 3.11 or newer is needed, and python3 is $(python3 --version 2>&1)."
    if [ -n "$DRY_RUN" ]; then
        say "would copy $SOURCE to $RELEASE, and install requirements.txt into its .venv"
        return
    fi
    say "$RELEASE"
    rm -rf "$RELEASE"
    mkdir "$RELEASE"
    copy_source
    printf '%s\n' "$REVISION" >"$RELEASE/REVISION"
    install_requirements
    "$RELEASE/.venv/bin/python" -m compileall -q "$RELEASE" -x "$RELEASE/(.venv|tests|benchmarks)" || :
    touch "$RELEASE/.complete"
}

# Its own environment; one with the same requirements is copied rather than fetched again.
install_requirements() {
    local current=$HOME_DIR/current python
    python=$(python3 -c 'import sys; print(sys.version)')
    if cmp -s "$current/requirements.txt" "$RELEASE/requirements.txt" &&
        [ "$("$current/.venv/bin/python" -c 'import sys; print(sys.version)')" = "$python" ]; then
        say "Python packages: those of the release that runs"
        cp -a --reflink=auto "$current/.venv" "$RELEASE/.venv"
        find "$RELEASE/.venv/bin" -type f -exec sed -i "1s|^#!/.*/python.*|#!$RELEASE/.venv/bin/python|" {} +
        return
    fi
    say "Python packages (a minute or two)"
    python3 -m venv "$RELEASE/.venv"
    "$RELEASE/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
        --only-binary :all: -r "$RELEASE/requirements.txt" ||
        fail "pip could not install the packages: its message above names the requirement. Mend it and run this again."
}

# The checkout's owner need not be root.
git_of_source() { git -c safe.directory="$SOURCE" -C "$SOURCE" "$@"; }

source_revision() {
    if [ -e "$SOURCE/.git" ] && command -v git >/dev/null; then
        git_of_source rev-parse --short=12 HEAD
    elif [ -s "$SOURCE/REVISION" ]; then
        cat "$SOURCE/REVISION"
    else
        printf 'unknown\n'
    fi
}

copy_source() {
    if [ -e "$SOURCE/.git" ] && command -v git >/dev/null; then
        [ -z "$(git_of_source status --porcelain)" ] || say "only what is committed is installed"
        git_of_source archive HEAD | tar -x -C "$RELEASE"
    else
        tar -c -C "$SOURCE" --exclude=./.venv --exclude=./.data --exclude=./.git . | tar -x -C "$RELEASE" --no-same-owner
    fi
}

as_postgres() { (cd / && runuser -u postgres -- "$@"); }

make_database() {
    step "PostgreSQL: the role events and its database"
    if [ -n "$DATABASE_URL_SOURCE" ]; then
        say "yours, by $DATABASE_URL_SOURCE"
        return
    fi
    run systemctl enable --now postgresql
    if [ -n "$DRY_RUN" ]; then
        say "would make both, unless they are there"
        return
    fi
    local deadline=$((SECONDS + 30))
    until as_postgres pg_isready -q; do
        [ $SECONDS -lt $deadline ] || fail "PostgreSQL does not answer: see \`pg_lsclusters\` and its log."
        sleep 0.2
    done
    [ "$(as_postgres psql -XAtc "SELECT count(*) FROM pg_roles WHERE rolname = 'events'")" = 1 ] ||
        as_postgres createuser --no-superuser --no-createdb --no-createrole events
    [ "$(as_postgres psql -XAtc "SELECT count(*) FROM pg_database WHERE datname = 'events'")" = 1 ] ||
        as_postgres createdb --owner=events --encoding=UTF8 --locale=C.UTF-8 --template=template0 events
    say "no superuser; it needs no password, as it is the user events on the socket"
}

make_redis() {
    step "Redis: an instance of its own"
    if [ -n "$REDIS_URL_SOURCE" ]; then
        say "yours, by $REDIS_URL_SOURCE"
        return
    fi
    if write /etc/redis/redis-events.conf 640 redis <<'CONFIGURATION'
# For the events platform: only on a socket, for the group redis. Nothing in it must survive.
port 0
unixsocket /run/redis-events/redis.sock
unixsocketperm 770
pidfile /run/redis-events/redis-server.pid
logfile ""
dir /var/lib/redis
dbfilename dump-events.rdb
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
CONFIGURATION
    then
        run systemctl restart redis-server@events
    fi
    run systemctl enable --now redis-server@events
}

# secret NAME COMMAND …: a file with what the command prints, made once and never shown.
secret() {
    local file=$ETC/$1
    shift
    if [ -s "$file" ]; then
        return
    fi
    if [ -n "$DRY_RUN" ]; then
        say "would write: $file"
        return
    fi
    "$@" | write "$file" 640 events
}

write_settings() {
    step "Settings in $ETC"
    secret secret_key openssl rand -base64 48
    secret field_encryption_keys sh -c "openssl rand -base64 32 | tr '+/' '-_'"
    secret metrics_token openssl rand -hex 24
    secret database_url cat_or "$DATABASE_URL_SOURCE" 'postgresql://events@/events?host=/var/run/postgresql'
    secret redis_url cat_or "$REDIS_URL_SOURCE" 'unix:///run/redis-events/redis.sock?db=0'
    secret celery_broker_url cat_or "$REDIS_URL_SOURCE" 'redis+socket:///run/redis-events/redis.sock?virtual_host=1'
    secret email_url cat_or "$EMAIL_URL_SOURCE" console:
    if [ -e "$ETC/environment" ]; then
        grep -qxF "PUBLIC_URL=$URL" "$ETC/environment" || say "PUBLIC_URL stays what it is in $ETC/environment"
        return
    fi
    {
        sed -e "s|^PUBLIC_URL=.*|PUBLIC_URL=$URL|" "$SOURCE/deploy/systemd/environment.example"
        [ -n "$EMAIL_URL_SOURCE" ] || printf 'EMAIL_TO_LOG=true\n'
    } | write "$ETC/environment" 640 events
}

cat_or() { if [ -n "$1" ]; then cat "$1"; else printf '%s\n' "$2"; fi; }

write_units() {
    step "Units in $UNITS"
    local file changed='' folder=$1/deploy/systemd
    [ -d "$folder" ] || folder=$SOURCE/deploy/systemd
    while IFS= read -r file; do
        write "$UNITS/$file" 644 root <"$folder/$file" && changed=yes
    done < <(cd "$folder" && find . -type f ! -name environment.example -printf '%P\n' | sort)
    [ -n "$changed" ] || say "all there"
    run ln -sfn "$HOME_DIR/current/deploy/events-platform" /usr/local/bin/events-platform
    run systemctl daemon-reload
}

write_proxy() {
    step "Proxy: $PROXY"
    case $PROXY in
    caddy) write_caddy ;;
    nginx) write_nginx ;;
    none) say "yours: docs/operations/deploy.md says what it must do" ;;
    esac
}

write_caddy() {
    local tls=
    [ -z "$CERTIFICATE" ] || tls="\n\ttls $CERTIFICATE $KEY"
    if sed -e "s|^events.example.com {|$AUTHORITY {$tls|; s|events.example.com|$AUTHORITY|g" "$SOURCE/deploy/Caddyfile" |
        write /etc/caddy/events-platform.caddyfile 644 root; then
        local main=/etc/caddy/Caddyfile line='import events-platform.caddyfile'
        if [ ! -e "$main" ] || dpkg-query --show --showformat='${Conffiles}\n' caddy 2>/dev/null |
            grep -qF "$main $(md5sum <"$main" | cut -d ' ' -f 1)"; then
            # The package's own file, which shows a page of Caddy's.
            write "$main" 644 root <<<"$line" || :
        elif ! grep -qxF "$line" "$main"; then
            { cat "$main" && printf '\n%s\n' "$line"; } | write "$main" 644 root || :
        fi
        run systemctl enable --now caddy
        run systemctl reload caddy
    else
        say "already there"
    fi
}

write_nginx() {
    if sed -e "s|/etc/ssl/events.example.com/fullchain.pem|$CERTIFICATE|; s|/etc/ssl/events.example.com/privkey.pem|$KEY|" \
        -e "s|https://events.example.com|$URL|g; s|events.example.com|$HOST|g" "$SOURCE/deploy/nginx.conf" |
        write /etc/nginx/conf.d/events-platform.conf 644 root; then
        run nginx -t -q
        run systemctl enable --now nginx
        run systemctl reload nginx
    else
        say "already there"
    fi
}

migrate() {
    step "Database schema"
    # A lock that is not had within five seconds is given up: whoever writes an event would wait behind it.
    local try
    for try in 1 2 3 4 5; do
        if run env PGOPTIONS="-c lock_timeout=5s" "$1/deploy/events-platform" migrate --no-input; then
            return
        fi
        [ "$try" = 5 ] || say "again in $try s"
        sleep "$try"
    done
    fail "The migration failed: its message is above. Nothing was changed over; run this again."
}

# switch RELEASE: what `current` leads to from now on; what runs is not touched.
switch() {
    run ln -sfn "$1" "$HOME_DIR/current.new"
    run mv -T "$HOME_DIR/current.new" "$HOME_DIR/current"
}

start_units() {
    step "Start"
    run systemctl enable --quiet events.target
    run systemctl enable --quiet --now events-web.socket events-web@1 events-web@2 events-worker@1 events-sender@1 events-beat
    run systemctl enable --quiet --now events-backup.timer
    wait_until_live 1
}

# wait_until_live ANSWERS [UNIT]: until so many in a row come from a web server of this release, as two serve from one
# socket. Fails when they do not come, or at once when the unit has ended.
wait_until_live() {
    [ -z "$DRY_RUN" ] || return 0
    local deadline=$((SECONDS + LIVE_SECONDS)) answers=0
    until [ "$answers" -ge "$1" ]; do
        if curl -s --max-time 5 http://127.0.0.1:8000/health/live | grep -qF "\"revision\": \"$REVISION\""; then
            answers=$((answers + 1))
            continue
        fi
        answers=0
        [ $SECONDS -lt $deadline ] || return 1
        [ -z "${2-}" ] || systemctl is-active --quiet "$2" || return 1
        sleep 0.2
    done
}

first_login() {
    step "First administrator, organization and API key"
    local made=$HOME_DIR/.first-login-made
    if [ -e "$made" ]; then
        say "already made"
        return
    fi
    if [ -n "$DRY_RUN" ]; then
        say "would make them, and write how to sign in to $FIRST_LOGIN"
        return
    fi
    local manage=$HOME_DIR/current/deploy/events-platform password key
    password=$(openssl rand -base64 18)
    # Either may be there, when an earlier run came so far, or the database was in use before.
    DJANGO_SUPERUSER_PASSWORD=$password "$manage" createsuperuser --no-input --username "$ADMIN" --email "" ||
        password="(what it was before)"
    "$manage" create_organization "$ORGANIZATION" --plan enterprise || say "The organization stays as it is."
    key=$("$manage" issue_key "$ORGANIZATION" --name "First key")
    write "$FIRST_LOGIN" 600 root <<LOGIN
url=$URL
username=$ADMIN
password=$password
organization=$ORGANIZATION
api_key=$key
LOGIN
    touch "$made"
}

# --- Commands ------------------------------------------------------------------------------------------------

install_platform() {
    install_packages
    make_account
    place_release
    [ ! -e "$HOME_DIR/current" ] || [ "$(readlink "$HOME_DIR/current")" = "$RELEASE" ] ||
        fail "Another release is installed here: \`$0 upgrade\` changes over to this one."
    make_database
    make_redis
    write_settings
    switch "$RELEASE"
    write_units "$RELEASE"
    migrate "$RELEASE"
    start_units || fail "No web server answers: see \`journalctl -u 'events-*'\`."
    write_proxy
    first_login
    examine || fail "The platform runs, but something above must be mended. Then: events-platform doctor"
    [ -n "$DRY_RUN" ] || cat <<END

The platform runs at $URL. How to sign in, and an API key: $FIRST_LOGIN (for root alone; delete it once you have
changed the password). Everything else: docs/operations/deploy.md.
END
}

# What has just been started gives its signs of life within seconds, so a problem counts when it stays.
examine() {
    step "Examine"
    local said deadline=$((SECONDS + SETTLE_SECONDS))
    if [ -n "$DRY_RUN" ]; then
        say "would run: events-platform doctor"
        return
    fi
    until said=$("$HOME_DIR/current/deploy/events-platform" doctor 2>&1); do
        if [ $SECONDS -ge $deadline ]; then
            printf '%s\n' "$said"
            return 1
        fi
        sleep 2
    done
    printf '%s\n' "$said"
}

upgrade_platform() {
    local before earlier
    earlier=$(readlink "$HOME_DIR/previous") || :
    before=$(readlink "$HOME_DIR/current") || fail "Nothing is installed here: \`$0 install\` does it."
    if [ -z "$FORCE" ]; then
        examine || fail "The platform that runs has a problem: mend it first, or give --force."
    fi
    place_release
    [ "$RELEASE" != "$before" ] || fail "This is the release that runs."
    run "$RELEASE/deploy/events-platform" check --deploy
    if [ -z "$NO_BACKUP" ]; then
        step "Backup in $BACKUPS (--no-backup leaves it out)"
        run "$HOME_DIR/current/deploy/events-platform" backup "$BACKUPS" --keep 14
    fi
    migrate "$RELEASE"
    run ln -sfn "$before" "$HOME_DIR/previous"
    if change_over "$RELEASE" web worker sender beat && examine; then
        remove_old_releases
        printf '\nRelease %s runs. Back to the one before: %s rollback\n' "$(basename "$RELEASE")" "$0"
        return
    fi
    [ -z "$DRY_RUN" ] || return 0
    step "It does not work: back to $(basename "$before")"
    rm "$HOME_DIR/previous"
    [ -z "$earlier" ] || ln -s "$earlier" "$HOME_DIR/previous"
    REVISION=$(cat "$before/REVISION")
    change_over "$before" beat worker sender web || say "The release before does not start either."
    fail "Nothing was lost, and $(basename "$before") runs again. Look at \`journalctl -u 'events-*'\`."
}

rollback_platform() {
    local back
    back=$(readlink "$HOME_DIR/previous") || fail "There is no release before this one."
    REVISION=$(cat "$back/REVISION")
    run ln -sfn "$(readlink "$HOME_DIR/current")" "$HOME_DIR/previous"
    change_over "$back" beat worker sender web || fail "It does not start: see \`journalctl -u 'events-*'\`."
    examine || fail "The release before runs; something above must be mended."
    printf '\nRelease %s runs again. The schema stays as it is: docs/operations/upgrade.md.\n' "$(basename "$back")"
}

# change_over RELEASE KIND …: its units, then its programs in this order. What is not web has no requests to lose.
change_over() {
    step "Change over to $(basename "$1")"
    local release=$1 kind unit
    switch "$release" && write_units "$release" || return 1
    shift
    for kind; do
        for unit in $(running "$kind"); do
            if [ "$(release_of "$unit")" = "$release" ]; then
                say "$unit runs it already"
                continue
            fi
            say "$unit"
            run systemctl restart "$unit" || return 1
            # The other one stops no sooner than this one serves.
            [ "$kind" != web ] || wait_until_live 1 "$unit" || return 1
        done
        # Of both: so many in a row come from one of two by chance once in a million times.
        [ "$kind" != web ] || wait_until_live 20 || return 1
    done
}

running() {
    systemctl list-units --plain --no-legend --all "events-$1.service" "events-$1@*.service" | awk '{ print $1 }'
}

# Of a unit: where its program was started (deploy/start), whatever `current` leads to by now.
release_of() {
    readlink "/proc/$(systemctl show --property MainPID --value "$1")/cwd" || :
}

remove_old_releases() {
    local kept
    kept=$(readlink "$HOME_DIR/current" "$HOME_DIR/previous")
    find "$HOME_DIR/releases" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +$((KEPT_RELEASES + 1)) |
        cut -d ' ' -f 2 | grep -vxF "$kept" | while IFS= read -r old; do run rm -rf "$old"; done || :
}

# --- The command line ----------------------------------------------------------------------------------------

URL='' ADMIN=admin ORGANIZATION=main PROXY=caddy CERTIFICATE='' KEY='' FORCE='' NO_BACKUP=''
EMAIL_URL_SOURCE='' DATABASE_URL_SOURCE='' REDIS_URL_SOURCE=''
COMMAND=${1-}
[ $# -eq 0 ] || shift
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) DRY_RUN=yes ;;
    --force) FORCE=yes ;;
    --no-backup) NO_BACKUP=yes ;;
    --url | --admin | --organization | --proxy | --certificate | --key | --*-url-file)
        [ $# -ge 2 ] || fail "$1 needs a value."
        case $1 in
        --url) URL=${2%/} ;;
        --admin) ADMIN=$2 ;;
        --organization) ORGANIZATION=$2 ;;
        --proxy) PROXY=$2 ;;
        --certificate) CERTIFICATE=$2 ;;
        --key) KEY=$2 ;;
        --email-url-file) EMAIL_URL_SOURCE=$2 ;;
        --database-url-file) DATABASE_URL_SOURCE=$2 ;;
        --redis-url-file) REDIS_URL_SOURCE=$2 ;;
        esac
        shift
        ;;
    *)
        fail "There is no option $1: see \`$0 --help\`."
        ;;
    esac
    shift
done

check_options() {
    [[ $URL =~ ^https://([a-z0-9.-]+)(:[0-9]+)?$ ]] || fail "--url must be an https address without a path, in small letters."
    HOST=${BASH_REMATCH[1]} AUTHORITY=${BASH_REMATCH[1]}${BASH_REMATCH[2]}
    [[ $PROXY =~ ^(caddy|nginx|none)$ ]] || fail "--proxy is caddy, nginx or none."
    [ -n "$CERTIFICATE" ] || [ "$PROXY" != nginx ] || fail "nginx needs --certificate and --key."
    local file
    for file in "$CERTIFICATE" "$KEY" "$EMAIL_URL_SOURCE" "$DATABASE_URL_SOURCE" "$REDIS_URL_SOURCE"; do
        [ -z "$file" ] || [ -s "$file" ] || fail "$file is missing or empty."
    done
}

case $COMMAND in
install)
    check_options
    ;;
upgrade | rollback) ;;
*)
    usage
    [[ $COMMAND =~ ^(-h|--help|help)$ ]] && exit 0 || exit 2
    ;;
esac
[ -n "$DRY_RUN" ] || [ "$(id -u)" -eq 0 ] || fail "Run this as root."
command -v systemctl >/dev/null && [ -d /run/systemd/system ] || [ -n "$DRY_RUN" ] || fail "This server does not run systemd."
# One at a time.
if [ -z "$DRY_RUN" ]; then
    exec 9>/run/lock/events-platform-install
    flock -n 9 || fail "Another run of this is at work."
fi
"${COMMAND}_platform"
