-- Run once by the image of PostgreSQL, as its superuser, when it has made the data folder: a role for the platform that
-- may do everything in its own database, and nothing elsewhere.
\set password `cat /run/secrets/database_password`
CREATE ROLE events LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE events OWNER events;
REVOKE CONNECT, TEMPORARY ON DATABASE events FROM PUBLIC;
