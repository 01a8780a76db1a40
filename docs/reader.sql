-- The role that extauthz connects as. It may read three columns of two tables, and nothing else.
-- Run it as the owner of Better Auth's database, and then give the role a password:
--   psql "$OWNER_URL" -f reader.sql
--   psql "$OWNER_URL" -c '\password extauthz_reader'
-- Other names of tables and columns (Drizzle, Prisma, your own) go into the two grants.

do $$ begin
  if not exists (select from pg_roles where rolname = 'extauthz_reader') then
    create role extauthz_reader login;
  end if;
end $$;

alter role extauthz_reader nosuperuser nocreatedb nocreaterole noreplication nobypassrls;
alter role extauthz_reader set default_transaction_read_only = on;

grant usage on schema public to extauthz_reader;
grant select ("token", "expiresAt", "userId") on "session" to extauthz_reader;
grant select ("id", "email", "name") on "user" to extauthz_reader;
