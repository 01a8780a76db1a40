package tables

import (
	"fmt"
	"slices"
	"strings"
)

// Query is the query for a list of tokens, and for a single one, which is planned and run quicker.
type Query struct {
	Many, One string
	Facts     int    // how many facts a row has
	Absent    []bool // those of them that there is no column for; nil where all have one
	HasFacts  bool   // one of them has a column
}

// Columns is how many columns a row has: seven that every check needs, and the facts.
func (q *Query) Columns() int { return 7 + q.Facts }

// maxFactBytes bounds a fact that is a text of any length; what is longer is null. Users may write into their own
// columns.
const maxFactBytes = 4 << 10

// Query makes the session query. Each row, and one without a token where none is known, says first whether a standby
// gave it: between two queries a pooler may have moved the connection to another server. Ids are read as text,
// whatever their type; a timestamp without zone is UTC, which is how extract(epoch) reads it. The user is looked up
// session by session: given a plain join, the planner reads the whole user table for every batch. A ban is the time
// that it ends, infinity where it does not, and null where there is none.
func (s *Schema) Query() Query {
	optional := func(c *Column) string {
		if c == nil {
			return "null::text"
		}
		return "u." + QuoteName(c.Name) + "::text"
	}
	q := Query{
		Facts: len(s.facts), Absent: s.absent(),
		HasFacts: slices.ContainsFunc(s.columns, func(c *Column) bool { return c != nil }),
	}
	// on this side, so that the index on the id serves
	userID := s.castUserID("s."+QuoteName(s.UserID.Name), s.UserID, s.ID)
	id := "u." + QuoteName(s.ID.Name)
	ofUser := fmt.Sprintf("%s::text as id, %s as email, %s as name, %s as banned",
		id, optional(s.Email), optional(s.Name), s.bannedUntil())
	var outer, ofSession, facts string
	for i, fact := range s.facts {
		name := fmt.Sprintf("fact%d", i)
		outer += ", f." + name
		switch c := s.columns[i]; {
		case c == nil:
			ofSession += ", null::text as " + name
		case fact.Of == OfSession:
			ofSession += ", " + asText(c, "s") + " as " + name
		case fact.Of == OfUser:
			ofUser += ", " + asText(c, "u") + " as " + name
			facts += ", v." + name
		default:
			ofSession += ", m." + s.alias(c) + " as " + name
		}
	}
	query := fmt.Sprintf("select r.standby, f.token, f.expires, f.id, f.email, f.name, f.banned%s "+
		"from (select pg_catalog.pg_is_in_recovery() as standby%s) r left join ("+
		"select s.%s::text as token, extract(epoch from s.%s)::float8 as expires, "+
		"v.id, v.email, v.name, v.banned%s%s from %s s"+
		" cross join lateral (select %s from %s u where %s = %s limit 1) v%s"+
		" where s.%s = ",
		outer, s.guard(), QuoteName(s.Token.Name), QuoteName(s.ExpiresAt.Name), facts, ofSession, s.Session,
		ofUser, s.User, id, userID, s.membership(), QuoteName(s.Token.Name))
	q.Many, q.One = query+"any($1)) f on true", query+"$1) f on true"
	return q
}

// castUserID is an expression of a user's id, cast where another column's type is to be met.
func (s *Schema) castUserID(expression string, of, like *Column) string {
	if of.Type == like.Type {
		return expression
	}
	return "cast(" + expression + " as " + QuoteName(like.Type) + ")"
}

// bannedUntil is when the user's ban ends, as seconds since 1970.
func (s *Schema) bannedUntil() string {
	if s.Banned == nil {
		return "null::float8"
	}
	until := "'infinity'::float8"
	if s.BanExpires != nil {
		until = "coalesce(extract(epoch from u." + QuoteName(s.BanExpires.Name) + ")::float8, " + until + ")"
	}
	return "case when u." + QuoteName(s.Banned.Name) + " then " + until + " end"
}

// membership joins the user's row in "member" of the organization that is active in the session, where facts are of it.
func (s *Schema) membership() string {
	if s.Member == nil {
		return ""
	}
	organization, active := "m."+QuoteName(s.memberOrganization.Name), "s."+QuoteName(s.activeOrganization.Name)
	if s.memberOrganization.Type != s.activeOrganization.Type {
		// a text that is no id is nobody's organization, and no error
		organization, active = organization+"::text", active+"::text"
	}
	user := s.castUserID("s."+QuoteName(s.UserID.Name), s.UserID, s.memberUser)
	return fmt.Sprintf(" left join lateral (select m.%s::text as organization, m.%s::text as organization_role from %s m"+
		" where %s = %s and m.%s = %s limit 1) m on true",
		QuoteName(s.memberOrganization.Name), QuoteName(s.memberRole.Name), s.Member,
		organization, active, QuoteName(s.memberUser.Name), user)
}

// alias is a member's column in the query.
func (s *Schema) alias(c *Column) string {
	if c == s.memberRole {
		return "organization_role"
	}
	return "organization"
}

// asText is a column's value as a claim would have it: times as JavaScript writes them, elements of arrays joined by
// commas.
func asText(c *Column, table string) string {
	value := table + "." + QuoteName(c.Name)
	const format = `'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'`
	switch c.Type {
	case "timestamptz":
		return "to_char(" + value + " at time zone 'UTC', " + format + ")"
	case "timestamp":
		return "to_char(" + value + ", " + format + ")"
	case "bool", "int2", "int4", "int8", "float4", "float8", "uuid", "date":
		return value + "::text"
	case "json", "jsonb":
		value = "(" + value + " #>> '{}')"
	default:
		if strings.HasPrefix(c.Type, "_") {
			value = "array_to_string(" + value + ", ',')"
		} else {
			value += "::text"
		}
	}
	return fmt.Sprintf("case when octet_length(%s) <= %d then %s end", value, maxFactBytes, value)
}

// lacksColumn tells that a column may yet come that was looked for: of a ban, or of an optional fact.
func (s *Schema) lacksColumn() bool {
	if s.Banned == nil && !s.isNeverBanned {
		return true
	}
	for i, c := range s.columns {
		if c == nil && s.facts[i].Of != OfNone {
			return true
		}
	}
	return false
}

// absent tells which facts there is no column for.
func (s *Schema) absent() []bool {
	var absent []bool
	for i, c := range s.columns {
		if c == nil {
			if absent == nil {
				absent = make([]bool, len(s.columns))
			}
			absent[i] = true
		}
	}
	return absent
}
