package extauthz

import "extauthz/extauthz/internal/session/postgres/tables"

// SchemaNames say where Better Auth keeps sessions and users, when that cannot be found by looking. A table is `name`
// or `schema.name`, without quotes. An empty name is looked for.
//
//   - SessionTable and UserTable name the tables.
//   - SessionColumns renames the model's fields token, expiresAt and userId.
//   - UserColumns renames the model's fields id, email and name. email and name may be mapped to "" where there is no
//     such column.
type SchemaNames = tables.Names
