package tables

import (
	"fmt"
	"slices"
	"strings"

	"extauthz/extauthz/internal/session/postgres/catalogue"
)

// Fact is one value of a session that is asked for beside those that every check needs.
type Fact struct {
	Of       Model
	Field    string // Better Auth's name of the field, or the column's own
	Optional bool   // it may be absent, and is where the role may not read it
}

// Model is one of Better Auth's tables.
type Model uint8

const (
	OfNone Model = iota // no table has it: it is always absent
	OfUser
	OfSession
	OfMember // the user's row of the organization that is active in the session
)

// settingIdentity is the setting that asks for facts, for messages.
const settingIdentity = "Config.Identity"

// findFacts finds the columns of bans, which count wherever they are, and of the facts that are asked for.
func (s *Schema) findFacts(tables []*Table, wanted Wanted, preferred string) error {
	if err := s.findBan(wanted.UserColumns); err != nil {
		return err
	}
	s.facts, s.columns = wanted.Facts, make([]*Column, len(wanted.Facts))
	for i, fact := range wanted.Facts {
		column, err := s.findFact(fact, tables, wanted, preferred)
		if err != nil {
			return err
		}
		s.columns[i] = column
	}
	return s.checkReadable()
}

// findBan finds the admin plugin's columns. A column of that name that is not of their type is refused: who is banned
// could not be told.
func (s *Schema) findBan(renamed map[string]string) error {
	for _, one := range []struct {
		field  string
		into   **Column
		fits   func(*Column) bool
		wanted string
	}{
		{"banned", &s.Banned, func(c *Column) bool { return c.Type == "bool" }, "bool"},
		{"banExpires", &s.BanExpires, (*Column).IsTimestamp, "timestamp"},
	} {
		name, isRenamed := renamed[one.field]
		column := s.User.Named(catalogue.PlainName(one.field))
		switch {
		case isRenamed && name == "":
			s.isNeverBanned = s.isNeverBanned || one.field == "banned"
			continue
		case isRenamed:
			column = s.User.Column(name)
		case column == nil:
			continue
		}
		if err := checkColumn(s.User, one.field, column, one.fits, one.wanted, settingUserColumns); err != nil {
			return fmt.Errorf("%w, or %s= where there is none", err, one.field)
		}
		*one.into = column
	}
	if s.Banned == nil {
		s.BanExpires = nil
	}
	return nil
}

// findFact finds one fact's column; nil for an optional one that is not there, or may not be read.
func (s *Schema) findFact(fact Fact, tables []*Table, wanted Wanted, preferred string) (*Column, error) {
	switch fact.Of {
	case OfNone:
		return nil, nil
	case OfMember:
		if err := s.findMember(tables, wanted, preferred); err != nil {
			return nil, err
		}
		if fact.Field == "role" {
			return s.memberRole, nil
		}
		return s.memberOrganization, nil
	}
	t, renamed, variable := s.User, wanted.UserColumns, settingUserColumns
	fields := UserFields
	if fact.Of == OfSession {
		t, renamed, variable, fields = s.Session, wanted.SessionColumns, settingSessionColumns, SessionFields
	}
	column := field(t, fact.Field, renamed)
	switch {
	case fact.Optional && (column == nil || !column.Readable):
		return nil, nil
	case column == nil && slices.Contains(fields, fact.Field):
		return nil, fmt.Errorf("table %s has no column for Better Auth's %q, which %s asks for; "+
			"name it in %s as %s=column, or leave it out", t, fact.Field, settingIdentity, variable, fact.Field)
	case column == nil:
		return nil, fmt.Errorf("table %s has no column %q, which %s asks for; correct its name, or leave it out",
			t, fact.Field, settingIdentity)
	case column == s.Token:
		return nil, fmt.Errorf("%s asks for column %s.%s, which is the session's token; leave it out",
			settingIdentity, t, QuoteName(column.Name))
	}
	return column, nil
}

// field finds a column by Better Auth's name of the field, which may be renamed, or by its own.
func field(t *Table, name string, renamed map[string]string) *Column {
	if other, isRenamed := renamed[name]; isRenamed {
		return t.Column(other)
	}
	if exact := t.Column(name); exact != nil {
		return exact
	}
	return t.Named(catalogue.PlainName(name))
}

// findMember finds the organization plugin's table of members, which says whether a session's organization is still its
// user's: removing a member leaves it in the session.
func (s *Schema) findMember(tables []*Table, wanted Wanted, preferred string) (err error) {
	if s.Member != nil {
		return nil
	}
	active := Fact{Of: OfSession, Field: "activeOrganizationId"}
	if s.activeOrganization, err = s.findFact(active, nil, wanted, ""); err != nil {
		return err
	}
	if s.Member, err = s.findMemberTable(tables, wanted, preferred); err != nil {
		return err
	}
	for i, into := range []**Column{&s.memberOrganization, &s.memberUser, &s.memberRole} {
		found := field(s.Member, MemberFields[i], wanted.MemberColumns)
		if err := checkColumn(s.Member, MemberFields[i], found, nil, "", settingMemberColumns); err != nil {
			return err
		}
		*into = found
	}
	return nil
}

func (s *Schema) findMemberTable(tables []*Table, wanted Wanted, preferred string) (*Table, error) {
	if wanted.MemberTable != "" {
		return namedTable(tables, wanted.MemberTable, preferred, SettingMemberTable)
	}
	// auth_session, auth_member
	prefix := strings.TrimSuffix(strings.TrimSuffix(catalogue.PlainName(s.Session.Name), "s"), "session")
	var candidates []*Table
	for _, t := range tables {
		name := catalogue.PlainName(t.Name)
		isMember := slices.Contains([]string{"member", "members", prefix + "member", prefix + "members"}, name)
		fits := t.Named("organizationid") != nil && t.Named("userid") != nil
		if t.Schema == s.Session.Schema && isMember && (fits || len(wanted.MemberColumns) > 0) {
			candidates = append(candidates, t)
		}
	}
	switch len(candidates) {
	case 0:
		return nil, fmt.Errorf("no table looks like Better Auth's \"member\" (organizationId, userId, role), "+
			"without which %s cannot tell an organization; add the organization plugin and run its migrations, "+
			"or name the table in %s", settingIdentity, SettingMemberTable)
	case 1:
		return candidates[0], nil
	}
	return nil, fmt.Errorf("%s look like Better Auth's \"member\"; name one in %s", listed(candidates), SettingMemberTable)
}

// TablesRead are the tables of the session query.
func (s *Schema) TablesRead() []*Table {
	tables := []*Table{s.Session, s.User}
	if s.Member != nil {
		tables = append(tables, s.Member)
	}
	return tables
}

// ColumnsRead are the columns of a table that the session query reads, each once.
func (s *Schema) ColumnsRead(of *Table) []*Column {
	var columns []*Column
	add := func(t *Table, added ...*Column) {
		for _, c := range added {
			if t == of && c != nil && !slices.Contains(columns, c) {
				columns = append(columns, c)
			}
		}
	}
	add(s.Session, s.Token, s.ExpiresAt, s.UserID)
	add(s.User, s.ID, s.Email, s.Name, s.Banned, s.BanExpires)
	if s.Member != nil {
		add(s.Session, s.activeOrganization)
		add(s.Member, s.memberOrganization, s.memberUser, s.memberRole)
	}
	for i, fact := range s.facts {
		switch fact.Of {
		case OfUser:
			add(s.User, s.columns[i])
		case OfSession:
			add(s.Session, s.columns[i])
		}
	}
	return columns
}

// checkReadable names what the role may not read of what bans and facts need. What sessions themselves need is told by
// the query.
func (s *Schema) checkReadable() error {
	always := []*Column{s.Token, s.ExpiresAt, s.UserID, s.ID, s.Email, s.Name}
	for _, t := range s.TablesRead() {
		var missing []string
		for _, c := range s.ColumnsRead(t) {
			if !c.Readable && !slices.Contains(always, c) {
				missing = append(missing, QuoteName(c.Name))
			}
		}
		if len(missing) > 0 {
			names := strings.Join(missing, ", ")
			return fmt.Errorf("%s may not read %s of %s; grant select (%s) on %s to %s",
				t.Reader, names, t, names, t, QuoteName(t.Reader))
		}
	}
	return nil
}

// Describe says what of a session is read beside what every check needs.
func (s *Schema) Describe() (bans, facts string) {
	bans = "none: the user table has no column \"banned\""
	switch {
	case s.BanExpires != nil:
		bans = fmt.Sprintf("by %s until %s", QuoteName(s.Banned.Name), QuoteName(s.BanExpires.Name))
	case s.Banned != nil:
		bans = fmt.Sprintf("by %s, without an end", QuoteName(s.Banned.Name))
	}
	var list []string
	for i, fact := range s.facts {
		if c := s.columns[i]; c != nil {
			t := map[Model]*Table{OfUser: s.User, OfSession: s.Session, OfMember: s.Member}[fact.Of]
			list = append(list, QuoteName(t.Name)+"."+QuoteName(c.Name))
		}
	}
	return bans, strings.Join(list, ", ")
}
