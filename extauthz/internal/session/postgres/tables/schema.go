// Package tables finds Better Auth's session and user tables in PostgreSQL's catalogue, whatever made them, and makes the
// query for sessions. It imports show, and does not know how connections are made or shared.
package tables

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"extauthz/extauthz/internal/show"
)

// Names say where Better Auth keeps sessions and users, when that cannot be found by looking.
// A table is `name` or `schema.name`, without quotes. An empty name is looked for.
type Names struct {
	SessionTable string
	// SessionColumns renames the model's fields token, expiresAt and userId.
	SessionColumns map[string]string
	UserTable      string
	// UserColumns renames the model's fields id, email and name. email and name may be mapped to ""
	// where there is no such column.
	UserColumns map[string]string
}

// The fields of the public Config that override what is found, for messages.
const (
	SettingSessionTable   = "Config.Schema.SessionTable"
	settingSessionColumns = "Config.Schema.SessionColumns"
	SettingUserTable      = "Config.Schema.UserTable"
	settingUserColumns    = "Config.Schema.UserColumns"
)

// Schema is what the session query needs to know of the database.
type Schema struct {
	Session, User            *Table
	Token, ExpiresAt, UserID *Column
	ID, Email, Name          *Column // email and name may be nil
	Security                 []rowSecurity
}

// Find finds the session and user tables and their columns. preferred is the PostgreSQL schema
// to look in, empty for the search_path. Its error is one line that names table and column, and what to set.
func Find(tables []*Table, names Names, preferred string) (*Schema, error) {
	session, err := findSessionTable(tables, names, preferred)
	if err != nil {
		return nil, err
	}
	return schemaOf(session, tables, names, preferred)
}

// schemaOf finds what belongs to a session table.
func schemaOf(session *Table, tables []*Table, names Names, preferred string) (*Schema, error) {
	s := Schema{Session: session}
	var err error
	if err := s.findSessionColumns(names.SessionColumns); err != nil {
		return nil, err
	}
	if s.User, err = s.findUserTable(tables, names, preferred); err != nil {
		return nil, err
	}
	if err := s.findUserColumns(names.UserColumns); err != nil {
		return nil, err
	}
	return &s, nil
}

// inScope tells whether a table may be found without being named with its schema.
func inScope(t *Table, preferred string) bool {
	if preferred != "" {
		return t.Schema == preferred
	}
	return t.visible
}

func namedTable(tables []*Table, name, preferred, variable string) (*Table, error) {
	schemaName, tableName, qualified := strings.Cut(name, ".")
	if !qualified {
		schemaName, tableName = "", name
	}
	for _, t := range tables {
		if t.Name == tableName && (t.Schema == schemaName || !qualified && inScope(t, preferred)) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("there is no table %q, which %s names", name, variable)
}

func (s *Schema) findSessionColumns(renamed map[string]string) (err error) {
	t := s.Session
	find := func(field string, found *Column, fits func(*Column) bool, wanted string) *Column {
		if err != nil {
			return nil
		}
		if name, isRenamed := renamed[field]; isRenamed {
			found = t.column(name)
		}
		err = checkColumn(t, field, found, fits, wanted, settingSessionColumns)
		return found
	}
	token := t.Named("token")
	if token == nil && t.isBetterAuths() { // Auth.js has a sessionToken too, and its own tokens in it
		if token = t.Named("sessiontoken"); token == nil {
			token = t.only(func(c *Column) bool { return c.isText() && c.Unique })
		}
	}
	expiresAt := t.Named("expiresat", "expires", "expiry")
	if expiresAt == nil {
		expiresAt = t.only(func(c *Column) bool { return c.isTimestamp() && strings.HasPrefix(plainName(c.Name), "exp") })
	}
	userID := t.Named("userid")
	if userID == nil {
		userID = t.only(func(c *Column) bool { return c.refTable != "" })
	}
	s.Token = find("token", token, (*Column).isText, "text")
	s.ExpiresAt = find("expiresAt", expiresAt, (*Column).isTimestamp, "timestamp")
	s.UserID = find("userId", userID, nil, "")
	return err
}

func (s *Schema) findUserColumns(renamed map[string]string) (err error) {
	t := s.User
	find := func(field string, found *Column, optional bool) *Column {
		if err != nil {
			return nil
		}
		if name, isRenamed := renamed[field]; isRenamed {
			if name == "" && optional {
				return nil
			}
			found = t.column(name)
		}
		err = checkColumn(t, field, found, nil, "", settingUserColumns)
		return found
	}
	id := t.Named("id")
	if ref := t.column(s.UserID.refColumn); ref != nil && s.UserID.refTable == t.Name {
		id = ref
	}
	s.ID = find("id", id, false)
	s.Email = find("email", t.Named("email", "emailaddress"), true)
	s.Name = find("name", t.Named("name", "fullname", "displayname"), true)
	return err
}

// checkColumn gives the one line that an operator needs when a column is missing or of another type.
func checkColumn(t *Table, field string, found *Column, fits func(*Column) bool, wanted, variable string) error {
	if found == nil {
		return fmt.Errorf("table %s has no column for Better Auth's %q; name it in %s as %s=column", t, field, variable, field)
	}
	if fits != nil && !fits(found) {
		return fmt.Errorf("column %s.%s has type %s where Better Auth's %q is a %s; name another in %s as %s=column",
			t, QuoteName(found.Name), found.Type, field, wanted, variable, field)
	}
	return nil
}

// Query is the query for a list of tokens, and for a single one, which is planned and run quicker.
type Query struct{ Many, One string }

// Query makes the session query. Each row, and one without a token where none is known, says first whether a standby
// gave it: between two queries a pooler may have moved the connection to another server. Ids are read as text,
// whatever their type; a timestamp without zone is UTC, which is how extract(epoch) reads it. The user is looked up
// session by session: given a plain join, the planner reads the whole user table for every batch.
func (s *Schema) Query() Query {
	optional := func(c *Column) string {
		if c == nil {
			return "null::text"
		}
		return "u." + QuoteName(c.Name) + "::text"
	}
	userID := "s." + QuoteName(s.UserID.Name)
	if s.UserID.Type != s.ID.Type {
		userID = "cast(" + userID + " as " + QuoteName(s.ID.Type) + ")" // on this side, so that the index on the id serves
	}
	id := "u." + QuoteName(s.ID.Name)
	query := fmt.Sprintf("select r.standby, f.token, f.expires, f.id, f.email, f.name "+
		"from (select pg_catalog.pg_is_in_recovery() as standby%[9]s) r left join ("+
		"select s.%[1]s::text as token, extract(epoch from s.%[2]s)::float8 as expires, v.id, v.email, v.name from %[3]s s"+
		" cross join lateral (select %[4]s::text as id, %[5]s as email, %[6]s as name from %[7]s u where %[4]s = %[8]s limit 1) v"+
		" where s.%[1]s = ",
		QuoteName(s.Token.Name), QuoteName(s.ExpiresAt.Name), s.Session, id, optional(s.Email), optional(s.Name), s.User, userID, s.guard())
	return Query{Many: query + "any($1)) f on true", One: query + "$1) f on true"}
}

// Grants is what gives a role the rights that the session query needs, and no more.
func (s *Schema) Grants(role string) string {
	columns := func(columns ...*Column) string {
		var names []string
		for _, c := range columns {
			if c != nil {
				names = append(names, QuoteName(c.Name))
			}
		}
		return strings.Join(names, ", ")
	}
	role = QuoteName(role)
	return fmt.Sprintf("grant usage on schema %s to %s; grant select (%s) on %s to %s; grant select (%s) on %s to %s", QuoteName(s.Session.Schema), role,
		columns(s.Token, s.ExpiresAt, s.UserID), s.Session, role, columns(s.ID, s.Email, s.Name), s.User, role)
}

// VariableOf is the setting that names the table.
func (s *Schema) VariableOf(t *Table) string {
	if t == s.Session {
		return SettingSessionTable
	}
	return SettingUserTable
}

// MissingIndex says what to create when a look-up by token would read the whole table; empty when all is well.
func (s *Schema) MissingIndex() string {
	if s.Token.indexed {
		return ""
	}
	return fmt.Sprintf("create unique index concurrently on %s (%s)", s.Session, QuoteName(s.Token.Name))
}

// QuoteName is a name as SQL has it.
func QuoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

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
