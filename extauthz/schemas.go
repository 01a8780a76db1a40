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

// ParseColumns reads `field=column,field=column`, as the configuration has it, for the fields given.
func ParseColumns(text string, fields ...string) (map[string]string, error) {
	return tables.ParseColumns(text, fields...)
}
