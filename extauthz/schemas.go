package extauthz

import "extauthz/extauthz/internal/session/postgres/tables"

// SchemaNames say where Better Auth keeps sessions and users, when that cannot be found by looking. A table is `name`
// or `schema.name`, without quotes. An empty name is looked for.
//
//   - SessionTable, UserTable and MemberTable name the tables. The last is the organization plugin's.
//   - SessionColumns renames the model's fields token, expiresAt, userId, id, activeOrganizationId and impersonatedBy.
//   - UserColumns renames the model's fields id, email, name, emailVerified, role, banned and banExpires. email, name,
//     banned and banExpires may be mapped to "" where there is no such column.
//   - MemberColumns renames the model's fields organizationId, userId and role.
type SchemaNames = tables.Names
