-- The role that extauthz connects as. It may read three columns of two tables, who is banned, and what you ask for by
-- EXTAUTHZ_IDENTITY; and nothing else.
-- Run it as the owner of Better Auth's database, and then give the role a password:
--   psql "$OWNER_URL" -f reader.sql
--   psql "$OWNER_URL" -c '\password extauthz_reader'
-- Other names of tables and columns (Drizzle, Prisma, your own) go into the grants.

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

-- Bans, where Better Auth's admin plugin keeps them: without this grant no session passes.
do $$ declare field text; begin
  foreach field in array array['banned', 'banExpires'] loop
    if exists (select from pg_attribute where attrelid = '"user"'::regclass and attname = field and not attisdropped) then
      execute format('grant select (%I) on "user" to extauthz_reader', field);
    end if;
  end loop;
end $$;

-- With EXTAUTHZ_IDENTITY: uncomment what you ask for. extauthz doctor names what is missing.
-- grant select ("role") on "user" to extauthz_reader;                                        -- role, and rules for it
-- grant select ("activeOrganizationId") on "session" to extauthz_reader;                     -- organization
-- grant select ("organizationId", "userId", "role") on "member" to extauthz_reader;          -- organization
-- grant select ("emailVerified") on "user" to extauthz_reader;                               -- email-verified
-- grant select ("impersonatedBy") on "session" to extauthz_reader;                           -- impersonator
-- grant select ("id") on "session" to extauthz_reader;                                       -- session-id
