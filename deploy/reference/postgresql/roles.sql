-- The account of the nodes and its database. Run by a superuser, once:
--     psql -v password="$HUBBUB_PG_PASSWORD" -f roles.sql
--
-- Nodes own their tables, as they bring them up to date themselves. They need no superuser and no role of the system.

create role hubbub login password :'password';
create database hubbub owner hubbub encoding 'UTF8' template template0;
revoke all on database hubbub from public;

-- A standby connects with this one.
create role hubbub_standby login replication password :'password';
