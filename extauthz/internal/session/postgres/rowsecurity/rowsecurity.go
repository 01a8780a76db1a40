// Package rowsecurity tells what row level security hides, in the tables that a query is read from, from the role that
// reads them. It imports nothing of this module. It does not know which tables these are, nor what for.
package rowsecurity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Row level security hides rows without an error: a live session would look like one that was signed out. So no
// answer is taken from a table of which rows may be hidden from the role.

// rowSecurityQuery lists the tables that those of the query are read from, through views too, with what row
// level security does there for the role that counts: the reader's own, or a view's owner's. See PostgreSQL's
// check_enable_rls and CREATE POLICY.
const rowSecurityQuery = `
with recursive reached (root, oid, checker) as (
  select r.name, r.name::regclass::oid, u.oid
  from unnest($1::text[]) r (name), pg_roles u where u.rolname = current_user
  union
  select reached.root, d.refobjid,
    case when coalesce(v.reloptions && array[
        'security_invoker=true', 'security_invoker=on', 'security_invoker=yes', 'security_invoker=1'], false)
      then reached.checker else v.relowner end
  from reached
  join pg_class v on v.oid = reached.oid and v.relkind = 'v'
  join pg_rewrite w on w.ev_class = v.oid
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
    and d.refclassid = 'pg_class'::regclass and d.refobjid <> v.oid
)
select reached.root, c.oid::bigint,
  '"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"',
  quote_ident(n.nspname) || '.' || quote_ident(c.relname), k.rolname::text,
  c.relrowsecurity, c.relforcerowsecurity,
  c.relrowsecurity and not k.rolsuper and not k.rolbypassrls
    and (c.relforcerowsecurity or not pg_has_role(k.oid, c.relowner, 'usage')),
  coalesce(p.readable, false), coalesce(p.whole and not p.narrowed, false), coalesce(p.version, '')
from reached
join pg_class c on c.oid = reached.oid
join pg_namespace n on n.oid = c.relnamespace
join pg_roles k on k.oid = reached.checker
left join lateral (
  select bool_or(p.polpermissive and p.polqual is not null) as readable,
    bool_or(p.polpermissive and coalesce(pg_get_expr(p.polqual, p.polrelid), '') = 'true') as whole,
    bool_or(not p.polpermissive and coalesce(pg_get_expr(p.polqual, p.polrelid), 'true') <> 'true') as narrowed,
    (select string_agg(q.oid::text || ' ' || q.xmin::text, ',' order by q.oid)
      from pg_policy q where q.polrelid = c.oid) as version
  from pg_policy p
  where p.polrelid = c.oid and p.polcmd in ('*', 'r')
    and (0 = any (p.polroles)
      or exists (select from unnest(p.polroles) r (oid) where pg_has_role(k.oid, r.oid, 'usage')))
) p on true
order by 1, 2`

// Table is what row level security does in one table that is read.
type Table struct {
	root, name string // the table of the session query, and the one that it reads; all quoted
	Name, Role string // the second for people, and the role whose policies count
	oid        int64
	on, forced bool
	Active     bool   // for the role
	Readable   bool   // a policy shows rows to the role
	Whole      bool   // and all of them
	version    string // of the table's policies
}

// Tables are those that a query's tables are read from.
type Tables []Table

// Read looks at the tables of a query, by their quoted names.
func Read(ctx context.Context, db Queryer, roots []string) (Tables, error) {
	rows, err := db.Query(ctx, rowSecurityQuery, roots)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Table, err error) {
		return r, row.Scan(&r.root, &r.oid, &r.name, &r.Name, &r.Role, &r.on, &r.forced, &r.Active, &r.Readable,
			&r.Whole, &r.version)
	})
}

// Hidden is the fault of a table whose rows are all hidden from the role, or, of those whose every row counts, some;
// nil when there is none.
func (s Tables) Hidden(whole ...string) error {
	for _, r := range s {
		if r.Active && !r.Readable {
			return fmt.Errorf("rows of %s are hidden from %s: "+
				"row level security is on and no policy is for this role; %s", r.Name, r.Role, r.Fix())
		}
		if r.Active && !r.Whole && slices.Contains(whole, r.root) {
			return fmt.Errorf("rows of %s may be hidden from %s by a policy of row level security that does not show all, "+
				"so that no organization can be told; %s", r.Name, r.Role, r.Fix())
		}
	}
	return nil
}

// MayHide is the fault of a session that is not found while a policy may hide it; nil when no policy does.
func (s Tables) MayHide() error {
	for _, r := range s {
		if r.Active && r.Readable && !r.Whole {
			return fmt.Errorf("not found, but rows of %s may be hidden from %s "+
				"by a policy of row level security that does not show all; %s", r.Name, r.Role, r.Fix())
		}
	}
	return nil
}

// Fix is what shows the role all rows.
func (r *Table) Fix() string {
	return fmt.Sprintf("create policy extauthz_reads on %s for select to %s using (true)", r.Name,
		pgx.Identifier{r.Role}.Sanitize())
}

// Conditions are false once row level security is not as it was found, so that no row that it hides is taken for one
// that is gone. It is looked at when a query runs, and costs what two look-ups in PostgreSQL's own cache cost; where a
// policy is relied on, one in the catalogue. pg_policy's xmin changes with each change.
func (s Tables) Conditions() []string {
	var conditions []string
	for i := range s {
		r := &s[i]
		switch {
		case r.Active:
			conditions = append(conditions, r.asFound(),
				fmt.Sprintf("(select pg_catalog.string_agg(p.oid::text || ' ' || p.xmin::text, ',' order by p.oid)"+
					" from pg_catalog.pg_policy p where p.polrelid = %d) = '%s'", r.oid, r.version))
		case r.isRoot():
			conditions = append(conditions,
				"not pg_catalog.row_security_active('"+strings.ReplaceAll(r.root, "'", "''")+"'::pg_catalog.regclass)")
		default:
			conditions = append(conditions, r.asFound())
		}
	}
	return conditions
}

// isRoot tells whether the table is itself in the query, and not behind a view.
func (r *Table) isRoot() bool { return r.root == r.name }

func (r *Table) asFound() string {
	return fmt.Sprintf("exists (select from pg_catalog.pg_class c "+
		"where c.oid = %d and c.relrowsecurity = %t and c.relforcerowsecurity = %t)", r.oid, r.on, r.forced)
}

// Queryer is a connection, or what acts as one.
type Queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}
