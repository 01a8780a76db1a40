package extauthz

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"extauthz/extauthz/internal/show"
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

// schema is what the session query needs to know of the database.
type schema struct {
	session, user            *table
	token, expiresAt, userID *column
	id, email, name          *column // email and name may be nil
	security                 []rowSecurity
}

// findSchema finds the session and user tables and their columns. preferred is the PostgreSQL schema
// to look in, empty for the search_path. Its error is one line that names table and column, and what to set.
func findSchema(tables []*table, names SchemaNames, preferred string) (*schema, error) {
	session, err := findSessionTable(tables, names, preferred)
	if err != nil {
		return nil, err
	}
	return schemaOf(session, tables, names, preferred)
}

// schemaOf finds what belongs to a session table.
func schemaOf(session *table, tables []*table, names SchemaNames, preferred string) (*schema, error) {
	s := schema{session: session}
	var err error
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
	token := t.named("token")
	if token == nil && t.isBetterAuths() { // Auth.js has a sessionToken too, and its own tokens in it
		if token = t.named("sessiontoken"); token == nil {
			token = t.only(func(c *column) bool { return c.isText() && c.unique })
		}
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

// query makes the session query. Each row, and one without a token where none is known, says first whether a standby
// gave it: between two queries a pooler may have moved the connection to another server. Ids are read as text,
// whatever their type; a timestamp without zone is UTC, which is how extract(epoch) reads it. The user is looked up
// session by session: given a plain join, the planner reads the whole user table for every batch.
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
	query := fmt.Sprintf("select r.standby, f.token, f.expires, f.id, f.email, f.name "+
		"from (select pg_catalog.pg_is_in_recovery() as standby%[9]s) r left join ("+
		"select s.%[1]s::text as token, extract(epoch from s.%[2]s)::float8 as expires, v.id, v.email, v.name from %[3]s s"+
		" cross join lateral (select %[4]s::text as id, %[5]s as email, %[6]s as name from %[7]s u where %[4]s = %[8]s limit 1) v"+
		" where s.%[1]s = ",
		quoteName(s.token.name), quoteName(s.expiresAt.name), s.session, id, optional(s.email), optional(s.name), s.user, userID, s.guard())
	return sessionQuery{many: query + "any($1)) f on true", one: query + "$1) f on true"}
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
			return nil, fmt.Errorf("names the field %q; the fields are %s", show.Clip(field), strings.Join(fields, ", "))
		}
		columns[field] = name
	}
	return columns, nil
}
