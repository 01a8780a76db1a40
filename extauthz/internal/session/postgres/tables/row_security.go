package tables

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Row level security hides rows without an error: a live session would look like one that was signed out. So no
// answer is taken from a table of which rows may be hidden from the role.

// rowSecurityQuery lists the tables that the two of the session query are read from, through views too, with what row
// level security does there for the role that counts: the reader's own, or a view's owner's. See PostgreSQL's
// check_enable_rls and CREATE POLICY.
const rowSecurityQuery = `
with recursive reached (root, oid, checker) as (
  select r.name, r.name::regclass::oid, u.oid from unnest($1::text[]) r (name), pg_roles u where u.rolname = current_user
  union
  select reached.root, d.refobjid,
    case when coalesce(v.reloptions && array['security_invoker=true', 'security_invoker=on', 'security_invoker=yes', 'security_invoker=1'], false)
      then reached.checker else v.relowner end
  from reached
  join pg_class v on v.oid = reached.oid and v.relkind = 'v'
  join pg_rewrite w on w.ev_class = v.oid
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> v.oid
)
select reached.root, c.oid::bigint, '"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"', quote_ident(n.nspname) || '.' || quote_ident(c.relname), k.rolname::text,
  c.relrowsecurity, c.relforcerowsecurity,
  c.relrowsecurity and not k.rolsuper and not k.rolbypassrls and (c.relforcerowsecurity or not pg_has_role(k.oid, c.relowner, 'usage')),
  coalesce(p.readable, false), coalesce(p.whole and not p.narrowed, false), coalesce(p.version, '')
from reached
join pg_class c on c.oid = reached.oid
join pg_namespace n on n.oid = c.relnamespace
join pg_roles k on k.oid = reached.checker
left join lateral (
  select bool_or(p.polpermissive and p.polqual is not null) as readable,
    bool_or(p.polpermissive and coalesce(pg_get_expr(p.polqual, p.polrelid), '') = 'true') as whole,
    bool_or(not p.polpermissive and coalesce(pg_get_expr(p.polqual, p.polrelid), 'true') <> 'true') as narrowed,
    (select string_agg(q.oid::text || ' ' || q.xmin::text, ',' order by q.oid) from pg_policy q where q.polrelid = c.oid) as version
  from pg_policy p
  where p.polrelid = c.oid and p.polcmd in ('*', 'r')
    and (0 = any (p.polroles) or exists (select from unnest(p.polroles) r (oid) where pg_has_role(k.oid, r.oid, 'usage')))
) p on true
order by 1, 2`

// rowSecurity is what row level security does in one table that is read.
type rowSecurity struct {
	root, name  string // the table of the session query, and the one that it reads; all quoted
	Table, Role string // the second for people, and the role whose policies count
	oid         int64
	on, forced  bool
	Active      bool   // for the role
	Readable    bool   // a policy shows rows to the role
	Whole       bool   // and all of them
	version     string // of the table's policies
}

// ReadRowSecurity looks at both tables.
func (s *Schema) ReadRowSecurity(ctx context.Context, db RowsQueryer) error {
	rows, err := db.Query(ctx, rowSecurityQuery, []string{s.Session.String(), s.User.String()})
	if err != nil {
		return err
	}
	s.Security, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r rowSecurity, err error) {
		return r, row.Scan(&r.root, &r.oid, &r.name, &r.Table, &r.Role, &r.on, &r.forced, &r.Active, &r.Readable,
			&r.Whole, &r.version)
	})
	return err
}

// Hidden is the fault of a table whose rows are all hidden from the role; nil when there is none.
func (s *Schema) Hidden() error {
	for _, r := range s.Security {
		if r.Active && !r.Readable {
			return fmt.Errorf("rows of %s are hidden from %s: "+
				"row level security is on and no policy is for this role; %s", r.Table, r.Role, r.Fix())
		}
	}
	return nil
}

// MayHide is the fault of a session that is not found while a policy may hide it; nil when no policy does.
func (s *Schema) MayHide() error {
	for _, r := range s.Security {
		if r.Active && r.Readable && !r.Whole {
			return fmt.Errorf("not found, but rows of %s may be hidden from %s by a policy of row level security that does not show all; %s", r.Table, r.Role, r.Fix())
		}
	}
	return nil
}

// Fix is what shows the role all rows.
func (r *rowSecurity) Fix() string {
	return fmt.Sprintf("create policy extauthz_reads on %s for select to %s using (true)", r.Table, QuoteName(r.Role))
}

// ErrRowsMayHide says that row level security was switched on, or a policy changed, since the tables were looked at.
var ErrRowsMayHide = errors.New("row level security of the session or user table has changed; it is looked at anew")

// guard makes the session query have no row at all once row level security is not as it was found, so that no session
// that it hides is taken for one that was signed out. It is looked at when a query runs, and costs what two look-ups in
// PostgreSQL's own cache cost; where a policy is relied on, one in the catalogue. pg_policy's xmin changes with each
// change.
func (s *Schema) guard() string {
	var conditions []string
	for _, r := range s.Security {
		switch {
		case r.Active:
			conditions = append(conditions, r.asFound(),
				fmt.Sprintf("(select pg_catalog.string_agg(p.oid::text || ' ' || p.xmin::text, ',' order by p.oid)"+
					" from pg_catalog.pg_policy p where p.polrelid = %d) = '%s'", r.oid, r.version))
		case s.isRoot(&r):
			conditions = append(conditions,
				"not pg_catalog.row_security_active('"+strings.ReplaceAll(r.root, "'", "''")+"'::pg_catalog.regclass)")
		default:
			conditions = append(conditions, r.asFound())
		}
	}
	if len(conditions) == 0 {
		return ""
	}
	return " where " + strings.Join(conditions, " and ")
}

// isRoot tells whether the table is itself in the session query, and not behind a view.
func (s *Schema) isRoot(r *rowSecurity) bool { return r.root == r.name }

func (r *rowSecurity) asFound() string {
	return fmt.Sprintf("exists (select from pg_catalog.pg_class c where c.oid = %d and c.relrowsecurity = %t and c.relforcerowsecurity = %t)", r.oid, r.on, r.forced)
}

// RowsQueryer is a connection, or what acts as one.
type RowsQueryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}
