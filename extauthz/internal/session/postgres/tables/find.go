package tables

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"extauthz/extauthz/internal/session/postgres/catalogue"
)

// likeness says how sure it is that a table is Better Auth's "session". Its columns decide, and its name only where
// they do not: other libraries have tables of that name too.
type likeness int

const (
	isNot    likeness = iota
	mayBe             // token, expiry and user, in a table named as one of sessions
	surelyIs          // and the address and browser, which Better Auth's model has
)

// like judges a table. A table that has the columns alone is not enough: one of password-reset tokens has a token, an
// expiry and a user too.
func like(t *Table, renamed map[string]string) likeness {
	columns := Schema{Session: t}
	switch plain := catalogue.PlainName(t.Name); {
	case columns.findSessionColumns(renamed) != nil:
		return isNot
	case isBetterAuths(t):
		return surelyIs
	case strings.HasSuffix(plain, "session") || strings.HasSuffix(plain, "sessions"):
		return mayBe
	}
	return isNot
}

func findSessionTable(tables []*Table, names Names, preferred string) (*Table, error) {
	if names.SessionTable != "" {
		t, err := namedTable(tables, names.SessionTable, preferred, SettingSessionTable)
		if err != nil {
			return nil, err
		}
		return t, checkIsCurrent(t)
	}
	var here, there [surelyIs + 1][]*Table // in scope, and elsewhere
	for _, t := range tables {
		l := like(t, names.SessionColumns)
		if inScope(t, preferred) {
			here[l] = append(here[l], t)
		} else {
			there[l] = append(there[l], t)
		}
	}
	candidates := here[surelyIs]
	if len(candidates) == 0 {
		candidates = here[mayBe]
	}
	candidates = narrowed(candidates, func(t *Table) bool { return t.Readable }) // the role was made for one of them
	candidates = narrowed(candidates, func(t *Table) bool {                      // a copy or a view has no such index
		columns := Schema{Session: t}
		return columns.findSessionColumns(names.SessionColumns) == nil && columns.Token.Unique
	})
	if len(here[surelyIs]) == 0 && len(candidates) > 0 {
		candidates = slices.Concat(candidates, there[surelyIs]) // a surer one elsewhere: it is not known which is meant
	}
	switch len(candidates) {
	case 0:
		return nil, noSessionTable(here[isNot], slices.Concat(there[surelyIs], there[mayBe]), names)
	case 1:
		return candidates[0], checkIsCurrent(candidates[0])
	}
	return nil, fmt.Errorf("%s look like Better Auth's \"session\"; name one in %s",
		listed(candidates), SettingSessionTable)
}

// InUse is the session table that checks are answered from.
type InUse struct {
	session *Table
	like    likeness
}

// InUse is what is to be kept of the tables that were found.
func (s *Schema) InUse(names Names) InUse {
	return InUse{s.Session, like(s.Session, names.SessionColumns)}
}

// FindAgain finds the tables once they have changed. The session table in use stays as long as it is there,
// whatever others there are by now. When it is gone, one that is less surely Better Auth's does not take its place by
// itself.
func FindAgain(before *InUse, tables []*Table, wanted Wanted, preferred string) (*Schema, error) {
	if wanted.SessionTable != "" {
		return Find(tables, wanted, preferred)
	}
	for _, t := range tables {
		if t.String() == before.session.String() && like(t, wanted.SessionColumns) != isNot {
			return schemaOf(t, tables, wanted, preferred)
		}
	}
	found, err := Find(tables, wanted, preferred)
	if err == nil && like(found.Session, wanted.SessionColumns) < before.like {
		return nil, fmt.Errorf("%s, from which sessions were read, is gone, and %s may be another library's; "+
			"if it is Better Auth's, name it in %s",
			before.session, found.Session, SettingSessionTable)
	}
	return found, err
}

// narrowed leaves those that fit, or all where none does.
func narrowed(tables []*Table, fits func(*Table) bool) []*Table {
	left := slices.DeleteFunc(slices.Clone(tables), func(t *Table) bool { return !fits(t) })
	if len(left) == 0 {
		return tables
	}
	return left
}

// noSessionTable says what there is instead: a table of that name whose columns do not fit, and tables outside the
// search_path.
func noSessionTable(others, elsewhere []*Table, names Names) error {
	var err error
	for _, t := range others {
		if plain := catalogue.PlainName(t.Name); plain == "session" || err == nil && plain == "sessions" {
			columns := Schema{Session: t}
			err = columns.findSessionColumns(names.SessionColumns)
		}
	}
	if err == nil {
		err = errors.New("no table looks like Better Auth's \"session\" (token, expiresAt, userId)")
		if len(elsewhere) == 0 {
			return fmt.Errorf("%w; run Better Auth's migrations, or name the table in %s", err, SettingSessionTable)
		}
	}
	if len(elsewhere) == 0 {
		return err
	}
	first := elsewhere[0]
	return fmt.Errorf("%w; outside the search_path there is %s: "+
		"set %s=%s.%s, or add options=-c%%20search_path%%3D%s to the connection string",
		err, listed(elsewhere), SettingSessionTable, first.Schema, first.Name, first.Schema)
}

// checkIsCurrent refuses a copy that is brought up to date now and then: who signed out would pass meanwhile.
func checkIsCurrent(t *Table) error {
	if t.Kind != "m" {
		return nil
	}
	return fmt.Errorf("%s is a materialized view, which shows a sign-out only once it is refreshed; "+
		"name the table itself in %s", t, SettingSessionTable)
}

// listed names tables in a sentence.
func listed(tables []*Table) string {
	var names []string
	for _, t := range tables {
		names = append(names, t.String())
	}
	switch last := len(names) - 1; last {
	case 0:
		return names[0]
	case 1:
		return "both " + names[0] + " and " + names[1]
	default:
		return strings.Join(names[:last], ", ") + " and " + names[last]
	}
}

func (s *Schema) findUserTable(tables []*Table, names Names, preferred string) (*Table, error) {
	if names.UserTable != "" {
		return namedTable(tables, names.UserTable, preferred, SettingUserTable)
	}
	for _, t := range tables {
		if s.UserID.RefTable != "" && t.Schema == s.UserID.RefSchema && t.Name == s.UserID.RefTable {
			return t, nil
		}
	}
	// auth_session goes with auth_user.
	prefix := strings.TrimSuffix(strings.TrimSuffix(catalogue.PlainName(s.Session.Name), "s"), "session")
	for _, plain := range []string{"user", prefix + "user"} {
		var candidates []*Table
		for _, t := range tables {
			if name := catalogue.PlainName(t.Name); t.Schema == s.Session.Schema && (name == plain || name == plain+"s") &&
				t.Named("id") != nil {
				candidates = append(candidates, t)
			}
		}
		if len(candidates) > 1 { // Better Auth says whether an e-mail was verified, Auth.js says when
			candidates = narrowed(candidates, func(t *Table) bool {
				verified := t.Named("emailverified")
				return verified != nil && verified.Type == "bool"
			})
		}
		switch len(candidates) {
		case 0:
		case 1:
			return candidates[0], nil
		default:
			return nil, fmt.Errorf("%s look like Better Auth's \"user\", and %s.%s references none; name one in %s",
				listed(candidates), s.Session, QuoteName(s.UserID.Name), SettingUserTable)
		}
	}
	return nil, fmt.Errorf("no table looks like Better Auth's \"user\", and %s.%s references none; name it in %s",
		s.Session, QuoteName(s.UserID.Name), SettingUserTable)
}

// isBetterAuths tells by two columns that Better Auth's model has beside the others, and the session tables of Auth.js,
// connect-pg-simple or Lucia have not.
func isBetterAuths(t *Table) bool {
	return t.Named("ipaddress") != nil && t.Named("useragent") != nil
}
