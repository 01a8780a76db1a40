package extauthz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// SchemaNames say where Better Auth keeps sessions and users, when that cannot be found by looking.
// A table is `name` or `schema.name`, without quotes. An empty name is looked for.
type SchemaNames struct {
	SessionTable string
	// SessionColumns renames the model's fields token, expiresAt and userId.
	SessionColumns map[string]string
	UserTable      string
	// UserColumns renames the model's fields id, email and name. email and name may be mapped to ""
	// where there is no such column.
	UserColumns map[string]string
}

// The variables that override what is found, for messages.
const (
	variableSessionTable   = "EXTAUTHZ_SESSION_TABLE"
	variableSessionColumns = "EXTAUTHZ_SESSION_COLUMNS"
	variableUserTable      = "EXTAUTHZ_USER_TABLE"
	variableUserColumns    = "EXTAUTHZ_USER_COLUMNS"
)

// table is one table or view as the catalogue describes it.
type table struct {
	schema, name string
	visible      bool // found without naming its schema (search_path)
	columns      []column
}

type column struct {
	name    string
	typ     string // pg_type.typname
	unique  bool   // alone in a unique index that is not the primary key
	indexed bool   // first in some index
	// references is the table and column that a foreign key of this column alone points to.
	refSchema, refTable, refColumn string
}

func (t *table) String() string { return quoteName(t.schema) + "." + quoteName(t.name) }

func (t *table) column(name string) *column {
	for i := range t.columns {
		if t.columns[i].name == name {
			return &t.columns[i]
		}
	}
	return nil
}

// named returns the column whose name, without case and underscores, is the first possible of those
// given: Better Auth's own camelCase, and the snake_case of Drizzle.
func (t *table) named(plainNames ...string) *column {
	for _, plain := range plainNames {
		for i := range t.columns {
			if plainName(t.columns[i].name) == plain {
				return &t.columns[i]
			}
		}
	}
	return nil
}

// only returns the one column that fits, or nil when none or several do.
func (t *table) only(fits func(*column) bool) *column {
	var found *column
	for i := range t.columns {
		if fits(&t.columns[i]) {
			if found != nil {
				return nil
			}
			found = &t.columns[i]
		}
	}
	return found
}

func plainName(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

func (c *column) isText() bool {
	return slices.Contains([]string{"text", "varchar", "bpchar", "citext"}, c.typ)
}

func (c *column) isTimestamp() bool { return c.typ == "timestamptz" || c.typ == "timestamp" }

// schema is what the session query needs to know of the database.
type schema struct {
	session, user            *table
	token, expiresAt, userID *column
	id, email, name          *column // email and name may be nil
}

// catalogueQuery lists every column of every table and view that is not PostgreSQL's own. It reads
// pg_catalog, which any role may, and not information_schema, which hides what a role cannot read.
const catalogueQuery = `
select n.nspname::text, c.relname::text, pg_table_is_visible(c.oid), a.attname::text, t.typname::text,
  exists (select from pg_index i where i.indrelid = c.oid and i.indisunique and not i.indisprimary
          and i.indnkeyatts = 1 and i.indkey[0] = a.attnum and i.indpred is null),
  exists (select from pg_index i where i.indrelid = c.oid and i.indisvalid and i.indkey[0] = a.attnum and i.indpred is null)
    or c.relkind not in ('r', 'p'),
  coalesce(rn.nspname::text, ''), coalesce(rc.relname::text, ''), coalesce(ra.attname::text, '')
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
left join pg_constraint f on f.conrelid = c.oid and f.contype = 'f' and f.conkey = array[a.attnum]
left join pg_class rc on rc.oid = f.confrelid
left join pg_namespace rn on rn.oid = rc.relnamespace
left join pg_attribute ra on ra.attrelid = f.confrelid and ra.attnum = f.confkey[1]
where c.relkind in ('r', 'p', 'v', 'm', 'f')
  and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname not like 'pg_temp%'
order by n.nspname, c.relname, a.attnum`

// readCatalogue returns the database's tables.
func readCatalogue(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}) ([]*table, error) {
	rows, err := db.Query(ctx, catalogueQuery)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var tables []*table
	for rows.Next() {
		var t table
		var c column
		if err := rows.Scan(&t.schema, &t.name, &t.visible, &c.name, &c.typ, &c.unique, &c.indexed,
			&c.refSchema, &c.refTable, &c.refColumn); err != nil {
			return nil, err
		}
		if last := len(tables) - 1; last < 0 || tables[last].schema != t.schema || tables[last].name != t.name {
			tables = append(tables, &t)
		}
		last := tables[len(tables)-1]
		if known := last.column(c.name); known == nil { // a column may have two foreign keys; the first counts
			last.columns = append(last.columns, c)
		}
	}
	return tables, rows.Err()
}

// findSchema finds the session and user tables and their columns. preferred is the PostgreSQL schema
// to look in, empty for the search_path. Its error is one line that names table and column, and what to set.
func findSchema(tables []*table, names SchemaNames, preferred string) (*schema, error) {
	var s schema
	var err error
	if s.session, err = findSessionTable(tables, names, preferred); err != nil {
		return nil, err
	}
	if err := s.findSessionColumns(names.SessionColumns); err != nil {
		return nil, err
	}
	if s.user, err = s.findUserTable(tables, names, preferred); err != nil {
		return nil, err
	}
	if err := s.findUserColumns(names.UserColumns); err != nil {
		return nil, err
	}
	return &s, nil
}

func findSessionTable(tables []*table, names SchemaNames, preferred string) (*table, error) {
	if names.SessionTable != "" {
		return namedTable(tables, names.SessionTable, preferred, variableSessionTable)
	}
	// The lower the rank, the surer. A table that has the columns alone is not enough: one of
	// password-reset tokens has a token, an expiry and a user too.
	rank := func(t *table) int {
		columns := schema{session: t}
		switch plain := plainName(t.name); {
		case !inScope(t, preferred):
			return 0
		case t.name == "session":
			return 1 // even when its columns do not fit, so that the message names what is missing
		case columns.findSessionColumns(names.SessionColumns) != nil:
			return 0
		case plain == "session" || plain == "sessions":
			return 2
		case strings.HasSuffix(plain, "session") || strings.HasSuffix(plain, "sessions"):
			return 3
		case t.named("ipaddress") != nil && t.named("useragent") != nil:
			return 4 // only Better Auth's model has these two beside the others
		}
		return 0
	}
	var best []*table
	bestRank := 0
	for _, t := range tables {
		switch r := rank(t); {
		case r == 0:
		case bestRank == 0 || r < bestRank:
			best, bestRank = []*table{t}, r
		case r == bestRank:
			best = append(best, t)
		}
	}
	switch len(best) {
	case 0:
		return nil, fmt.Errorf("no table looks like Better Auth's \"session\" (token, expiresAt, userId); run Better Auth's migrations, or name the table in %s", variableSessionTable)
	case 1:
		return best[0], nil
	}
	return nil, fmt.Errorf("both %s and %s look like Better Auth's \"session\"; name one in %s", best[0], best[1], variableSessionTable)
}

// inScope tells whether a table may be found without being named with its schema.
func inScope(t *table, preferred string) bool {
	if preferred != "" {
		return t.schema == preferred
	}
	return t.visible
}

func namedTable(tables []*table, name, preferred, variable string) (*table, error) {
	schemaName, tableName, qualified := strings.Cut(name, ".")
	if !qualified {
		schemaName, tableName = "", name
	}
	for _, t := range tables {
		if t.name == tableName && (t.schema == schemaName || !qualified && inScope(t, preferred)) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("there is no table %q, which %s names", name, variable)
}

func (s *schema) findSessionColumns(renamed map[string]string) (err error) {
	t := s.session
	find := func(field string, found *column, fits func(*column) bool, wanted string) *column {
		if err != nil {
			return nil
		}
		if name, isRenamed := renamed[field]; isRenamed {
			found = t.column(name)
		}
		err = checkColumn(t, field, found, fits, wanted, variableSessionColumns)
		return found
	}
	token := t.named("token", "sessiontoken")
	if token == nil {
		token = t.only(func(c *column) bool { return c.isText() && c.unique })
	}
	expiresAt := t.named("expiresat", "expires", "expiry")
	if expiresAt == nil {
		expiresAt = t.only(func(c *column) bool { return c.isTimestamp() && strings.HasPrefix(plainName(c.name), "exp") })
	}
	userID := t.named("userid")
	if userID == nil {
		userID = t.only(func(c *column) bool { return c.refTable != "" })
	}
	s.token = find("token", token, (*column).isText, "text")
	s.expiresAt = find("expiresAt", expiresAt, (*column).isTimestamp, "timestamp")
	s.userID = find("userId", userID, nil, "")
	return err
}

func (s *schema) findUserTable(tables []*table, names SchemaNames, preferred string) (*table, error) {
	if names.UserTable != "" {
		return namedTable(tables, names.UserTable, preferred, variableUserTable)
	}
	for _, t := range tables {
		if s.userID.refTable != "" && t.schema == s.userID.refSchema && t.name == s.userID.refTable {
			return t, nil
		}
	}
	for _, plain := range []string{"user", "users"} {
		for _, t := range tables {
			if t.schema == s.session.schema && plainName(t.name) == plain {
				return t, nil
			}
		}
	}
	// auth_session goes with auth_user.
	prefix := strings.TrimSuffix(strings.TrimSuffix(plainName(s.session.name), "s"), "session")
	for _, plain := range []string{prefix + "user", prefix + "users"} {
		for _, t := range tables {
			if t.schema == s.session.schema && plainName(t.name) == plain {
				return t, nil
			}
		}
	}
	return nil, fmt.Errorf("no table looks like Better Auth's \"user\", and %s.%s references none; name it in %s", s.session, quoteName(s.userID.name), variableUserTable)
}

func (s *schema) findUserColumns(renamed map[string]string) (err error) {
	t := s.user
	find := func(field string, found *column, optional bool) *column {
		if err != nil {
			return nil
		}
		if name, isRenamed := renamed[field]; isRenamed {
			if name == "" && optional {
				return nil
			}
			found = t.column(name)
		}
		err = checkColumn(t, field, found, nil, "", variableUserColumns)
		return found
	}
	id := t.named("id")
	if ref := t.column(s.userID.refColumn); ref != nil && s.userID.refTable == t.name {
		id = ref
	}
	s.id = find("id", id, false)
	s.email = find("email", t.named("email", "emailaddress"), true)
	s.name = find("name", t.named("name", "fullname", "displayname"), true)
	return err
}

// checkColumn gives the one line that an operator needs when a column is missing or of another type.
func checkColumn(t *table, field string, found *column, fits func(*column) bool, wanted, variable string) error {
	if found == nil {
		return fmt.Errorf("table %s has no column for Better Auth's %q; name it in %s as %s=column", t, field, variable, field)
	}
	if fits != nil && !fits(found) {
		return fmt.Errorf("column %s.%s has type %s where Better Auth's %q is a %s; name another in %s as %s=column",
			t, quoteName(found.name), found.typ, field, wanted, variable, field)
	}
	return nil
}

// sessionQuery is the query for a list of tokens, and for a single one, which is planned and run quicker.
type sessionQuery struct{ many, one string }

// query makes the session query. Ids are read as text, whatever their type; a
// timestamp without zone is UTC, which is how extract(epoch) reads it. The user is looked up session by
// session: given a plain join, the planner reads the whole user table for every batch.
func (s *schema) query() sessionQuery {
	optional := func(c *column) string {
		if c == nil {
			return "null::text"
		}
		return "u." + quoteName(c.name) + "::text"
	}
	userID := "s." + quoteName(s.userID.name)
	if s.userID.typ != s.id.typ {
		userID = "cast(" + userID + " as " + quoteName(s.id.typ) + ")" // on this side, so that the index on the id serves
	}
	id := "u." + quoteName(s.id.name)
	query := fmt.Sprintf("select s.%[1]s::text, extract(epoch from s.%[2]s)::float8, v.id, v.email, v.name from %[3]s s"+
		" cross join lateral (select %[4]s::text as id, %[5]s as email, %[6]s as name from %[7]s u where %[4]s = %[8]s limit 1) v"+
		" where s.%[1]s = ",
		quoteName(s.token.name), quoteName(s.expiresAt.name), s.session, id, optional(s.email), optional(s.name), s.user, userID)
	return sessionQuery{many: query + "any($1)", one: query + "$1"}
}

// missingIndex says what to create when a look-up by token would read the whole table; empty when all is well.
func (s *schema) missingIndex() string {
	if s.token.indexed {
		return ""
	}
	return fmt.Sprintf("create unique index concurrently on %s (%s)", s.session, quoteName(s.token.name))
}

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

// ParseColumns reads `field=column,field=column`, as the configuration has it, for the fields given.
func ParseColumns(text string, fields ...string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	columns := make(map[string]string)
	for pair := range strings.SplitSeq(text, ",") {
		field, name, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok {
			return nil, errors.New("is not field=column,field=column")
		}
		if !slices.Contains(fields, field) {
			return nil, fmt.Errorf("names the field %q; the fields are %s", clip(field), strings.Join(fields, ", "))
		}
		columns[field] = name
	}
	return columns, nil
}
