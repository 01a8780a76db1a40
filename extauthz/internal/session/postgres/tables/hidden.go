package tables

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"extauthz/extauthz/internal/session/postgres/rowsecurity"
)

// ReadRowSecurity looks at all tables that are read.
func (s *Schema) ReadRowSecurity(ctx context.Context, db rowsecurity.Queryer) (err error) {
	var roots []string
	for _, t := range s.TablesRead() {
		roots = append(roots, t.String())
	}
	s.Security, err = rowsecurity.Read(ctx, db, roots)
	return err
}

// Hidden is the fault of a table whose rows are all hidden from the role; nil when there is none. Of members none may
// be: a membership would end unseen.
func (s *Schema) Hidden() error {
	if s.Member == nil {
		return s.Security.Hidden()
	}
	return s.Security.Hidden(s.Member.String())
}

// ErrRowsMayHide says that row level security was switched on, a policy changed, or the user table got a column, which
// may say who is banned, since the tables were looked at.
var ErrRowsMayHide = errors.New("row level security of a table that is read has changed, or a column came; " +
	"the tables are looked at anew")

// guard makes the session query have no row at all once the tables are not as they were found: see [ErrRowsMayHide].
func (s *Schema) guard() string {
	conditions := s.Security.Conditions()
	if s.lacksColumn() {
		conditions = append(conditions, fmt.Sprintf(
			"exists (select from pg_catalog.pg_class c where c.OID = %d and c.relnatts = %d)", s.User.OID, s.User.Attributes))
	}
	if len(conditions) == 0 {
		return ""
	}
	return " where " + strings.Join(conditions, " and ")
}
