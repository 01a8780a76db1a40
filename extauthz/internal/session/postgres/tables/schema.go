// Package tables finds Better Auth's session and user tables in PostgreSQL's catalogue, whatever made them, and makes
// the query for sessions. It imports catalogue and rowsecurity, and does not know how connections are made or shared.
package tables

import (
	"fmt"
	"strings"

	"extauthz/extauthz/internal/session/postgres/catalogue"
	"extauthz/extauthz/internal/session/postgres/rowsecurity"
)

// Names say where Better Auth keeps sessions and users, when that cannot be found by looking.
// A table is `name` or `schema.name`, without quotes. An empty name is looked for.
type Names struct {
	SessionTable string
	// SessionColumns renames the model's fields token, expiresAt, userId, id, activeOrganizationId and impersonatedBy.
	SessionColumns map[string]string
	UserTable      string
	// UserColumns renames the model's fields id, email, name, emailVerified, role, banned and banExpires. email, name,
	// banned and banExpires may be mapped to "" where there is no such column.
	UserColumns map[string]string
	MemberTable string
	// MemberColumns renames the model's fields organizationId, userId and role.
	MemberColumns map[string]string
}

// The fields that may be renamed.
var (
	SessionFields = []string{"token", "expiresAt", "userId", "id", "activeOrganizationId", "impersonatedBy"}
	UserFields    = []string{"id", "email", "name", "emailVerified", "role", "banned", "banExpires"}
	MemberFields  = []string{"organizationId", "userId", "role"}
)

// Wanted is what is looked for: the tables by these names, and in them these facts beside what every check needs.
type Wanted struct {
	Names
	Facts []Fact
}

// The fields of the public Config that override what is found, for messages.
const (
	SettingSessionTable   = "Config.Schema.SessionTable"
	settingSessionColumns = "Config.Schema.SessionColumns"
	SettingUserTable      = "Config.Schema.UserTable"
	settingUserColumns    = "Config.Schema.UserColumns"
	SettingMemberTable    = "Config.Schema.MemberTable"
	settingMemberColumns  = "Config.Schema.MemberColumns"
)

// Schema is what the session query needs to know of the database.
type Schema struct {
	Session, User            *Table
	Token, ExpiresAt, UserID *Column
	ID, Email, Name          *Column // email and name may be nil
	Security                 rowsecurity.Tables

	// Banned and BanExpires are the admin plugin's columns; nil where there are none.
	Banned, BanExpires *Column
	isNeverBanned      bool // the operator says that there is no such column

	// Member is the organization plugin's table; nil where no fact is of it.
	Member                                     *Table
	activeOrganization                         *Column // of the session
	memberOrganization, memberUser, memberRole *Column

	facts   []Fact
	columns []*Column // of the facts; nil for one that may be absent and is
}

// Find finds the session and user tables and their columns. preferred is the PostgreSQL schema
// to look in, empty for the search_path. Its error is one line that names table and column, and what to set.
func Find(tables []*Table, wanted Wanted, preferred string) (*Schema, error) {
	session, err := findSessionTable(tables, wanted.Names, preferred)
	if err != nil {
		return nil, err
	}
	return schemaOf(session, tables, wanted, preferred)
}

// schemaOf finds what belongs to a session table.
func schemaOf(session *Table, tables []*Table, wanted Wanted, preferred string) (*Schema, error) {
	s := Schema{Session: session}
	var err error
	if err := s.findSessionColumns(wanted.SessionColumns); err != nil {
		return nil, err
	}
	if s.User, err = s.findUserTable(tables, wanted.Names, preferred); err != nil {
		return nil, err
	}
	if err := s.findUserColumns(wanted.UserColumns); err != nil {
		return nil, err
	}
	if err := s.findFacts(tables, wanted, preferred); err != nil {
		return nil, err
	}
	return &s, nil
}

// inScope tells whether a table may be found without being named with its schema.
func inScope(t *Table, preferred string) bool {
	if preferred != "" {
		return t.Schema == preferred
	}
	return t.Visible
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
			found = t.Column(name)
		}
		err = checkColumn(t, field, found, fits, wanted, settingSessionColumns)
		return found
	}
	token := t.Named("token")
	if token == nil && isBetterAuths(t) { // Auth.js has a sessionToken too, and its own tokens in it
		if token = t.Named("sessiontoken"); token == nil {
			token = t.Only(func(c *Column) bool { return c.IsText() && c.Unique })
		}
	}
	expiresAt := t.Named("expiresat", "expires", "expiry")
	if expiresAt == nil {
		expiresAt = t.Only(func(c *Column) bool {
			return c.IsTimestamp() && strings.HasPrefix(catalogue.PlainName(c.Name), "exp")
		})
	}
	userID := t.Named("userid")
	if userID == nil {
		userID = t.Only(func(c *Column) bool { return c.RefTable != "" })
	}
	s.Token = find("token", token, (*Column).IsText, "text")
	s.ExpiresAt = find("expiresAt", expiresAt, (*Column).IsTimestamp, "timestamp")
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
			found = t.Column(name)
		}
		err = checkColumn(t, field, found, nil, "", settingUserColumns)
		return found
	}
	id := t.Named("id")
	if ref := t.Column(s.UserID.RefColumn); ref != nil && s.UserID.RefTable == t.Name {
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
		return fmt.Errorf("table %s has no column for Better Auth's %q; name it in %s as %s=column",
			t, field, variable, field)
	}
	if fits != nil && !fits(found) {
		return fmt.Errorf("column %s.%s has type %s where Better Auth's %q is a %s; name another in %s as %s=column",
			t, QuoteName(found.Name), found.Type, field, wanted, variable, field)
	}
	return nil
}

// MissingIndex says what to create when a look-up by token would read the whole table; empty when all is well.
func (s *Schema) MissingIndex() string {
	if s.Token.Indexed {
		return ""
	}
	return fmt.Sprintf("create unique index concurrently on %s (%s)", s.Session, QuoteName(s.Token.Name))
}

// The catalogue's own.
type (
	Table  = catalogue.Table
	Column = catalogue.Column
)

// QuoteName is a name as SQL has it.
func QuoteName(name string) string { return catalogue.Quote(name) }
