#!/bin/sh
# Makes the secret files that compose.yaml reads, in the folder DIR:
#   EMAIL_URL='smtp+tls://user:password@mail.example.com:587' deploy/make-secrets.sh DIR
# A file that is there is kept as it is, so that a second run does nothing, and a deleted file is made anew.
# BROKER=rabbitmq makes RabbitMQ the broker instead of Redis.
set -eu
umask 077

directory=${1:-}
case ${BROKER:=redis} in
    redis | rabbitmq) ;;
    *) directory= ;;
esac
if [ $# -ne 1 ] || [ -z "$directory" ]; then
    echo "Usage: EMAIL_URL='smtp+tls://user:password@host:587' [BROKER=rabbitmq] $0 DIR" >&2
    exit 2
fi
if ! command -v openssl >/dev/null; then
    echo "openssl is needed to make random secrets: install it, then run this again." >&2
    exit 1
fi
if [ -z "${EMAIL_URL:-}" ] && [ ! -s "$directory/email_url" ]; then
    cat >&2 <<TEXT
Which mail server sends invitations, lost passwords and alerts? Set EMAIL_URL and run this again:
  EMAIL_URL='smtp+tls://user:password@mail.example.com:587' $0 $directory
With EMAIL_URL=console: there are no mails; they are written to the log instead, links that open accounts too. Say that
it is meant when you start the platform: EMAIL_TO_LOG=true.
TEXT
    exit 2
fi

mkdir -p "$directory"
# The processes in the containers have users of their own: they may read the files, and only you the folder.
chmod 700 "$directory"

# Takes the value on standard input, so that no secret is an argument of a process.
save() {
    if [ -s "$directory/$1" ]; then
        cat >/dev/null
        echo "kept  $directory/$1"
    else
        # Renamed when it is whole: half a secret would be kept for ever.
        rm -f "$directory/.$1"
        cat >"$directory/.$1"
        [ -s "$directory/.$1" ] || { echo "$directory/$1 would be empty: it was not made." >&2 && exit 1; }
        mv -f "$directory/.$1" "$directory/$1"
        echo "made  $directory/$1"
    fi
    chmod 444 "$directory/$1"
}

content() {
    cat "$directory/$1"
}

# Letters and digits only, as it stands in addresses and in configuration files.
password() {
    openssl rand -hex 24
}

password | save postgres_password
password | save database_password
printf 'postgresql://events:%s@postgres:5432/events\n' "$(content database_password)" | save database_url
password | sed 's/^/requirepass /' | save redis_conf
redis=$(content redis_conf | sed -n 's/^requirepass //p')
printf 'redis://:%s@redis:6379/0\n' "$redis" | save redis_url
{ echo 'default_user = events' && password | sed 's/^/default_pass = /'; } | save rabbitmq_conf
if [ "$BROKER" = rabbitmq ]; then
    rabbitmq=$(content rabbitmq_conf | sed -n 's/^default_pass = //p')
    printf 'amqp://events:%s@rabbitmq:5672//\n' "$rabbitmq" | save celery_broker_url
else
    printf 'redis://:%s@redis:6379/1\n' "$redis" | save celery_broker_url
fi
openssl rand -base64 48 | tr -d '\n' | save secret_key
openssl rand -base64 32 | tr '+/' '-_' | save field_encryption_keys
printf '%s\n' "${EMAIL_URL:-}" | save email_url
password | save metrics_token
echo "Keep secret_key and field_encryption_keys in a second place, apart from the backups: no backup holds them."
