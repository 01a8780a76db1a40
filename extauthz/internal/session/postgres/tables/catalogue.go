package tables

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Table is one table or view as the catalogue describes it.
type Table struct {
	Schema, Name string
	Kind         string // pg_class.relkind
	visible      bool   // found without naming its schema (search_path)
	readable     bool   // the role may read some of it
	columns      []Column
}

// Column is one column of a table.
type Column struct {
	Name    string
	Type    string // pg_type.typname; of a domain the type below it
	Unique  bool   // alone in a unique index that is not the primary key
	indexed bool   // first in some index
	// references is the table and column that a foreign key of this column alone points to.
	refSchema, refTable, refColumn string
}

// String is the quoted name, with its schema.
func (t *Table) String() string { return QuoteName(t.Schema) + "." + QuoteName(t.Name) }

func (t *Table) column(name string) *Column {
	for i := range t.columns {
		if t.columns[i].Name == name {
			return &t.columns[i]
		}
	}
	return nil
}

// Named returns the column whose name, without case and underscores, is the first possible of those
// given: Better Auth's own camelCase, and the snake_case of Drizzle.
func (t *Table) Named(plainNames ...string) *Column {
	for _, plain := range plainNames {
		for i := range t.columns {
			if plainName(t.columns[i].Name) == plain {
				return &t.columns[i]
			}
		}
	}
	return nil
}

// isBetterAuths tells by two columns that Better Auth's model has beside the others, and the session tables of Auth.js,
// connect-pg-simple or Lucia have not.
func (t *Table) isBetterAuths() bool {
	return t.Named("ipaddress") != nil && t.Named("useragent") != nil
}

// only returns the one column that fits, or nil when none or several do.
func (t *Table) only(fits func(*Column) bool) *Column {
	var found *Column
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

func (c *Column) isText() bool {
	return slices.Contains([]string{"text", "varchar", "bpchar", "citext"}, c.Type)
}

func (c *Column) isTimestamp() bool { return c.Type == "timestamptz" || c.Type == "timestamp" }

// catalogueQuery lists every column of every table and view that is not PostgreSQL's own. It reads
// pg_catalog, which any role may, and not information_schema, which hides what a role cannot read.
const catalogueQuery = `
select n.nspname::text, c.relname::text, c.relkind::text, pg_table_is_visible(c.oid),
  coalesce(has_any_column_privilege(c.oid, 'select'), false), a.attname::text, coalesce(b.typname, t.typname)::text,
  exists (select from pg_index i where i.indrelid = c.oid and i.indisunique and not i.indisprimary
          and i.indnkeyatts = 1 and i.indkey[0] = a.attnum and i.indpred is null),
  exists (select from pg_index i where i.indrelid = c.oid and i.indisvalid and i.indkey[0] = a.attnum and i.indpred is null)
    or c.relkind not in ('r', 'p'),
  coalesce(rn.nspname::text, ''), coalesce(rc.relname::text, ''), coalesce(ra.attname::text, '')
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
left join pg_type b on b.oid = t.typbasetype and t.typtype = 'd'
left join pg_constraint f on f.conrelid = c.oid and f.contype = 'f' and f.conkey = array[a.attnum]
left join pg_class rc on rc.oid = f.confrelid
left join pg_namespace rn on rn.oid = rc.relnamespace
left join pg_attribute ra on ra.attrelid = f.confrelid and ra.attnum = f.confkey[1]
where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition -- which the whole table stands for
  and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname not like 'pg_temp%'
order by n.nspname, c.relname, a.attnum`

// ReadCatalogue returns the database's tables.
func ReadCatalogue(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}) ([]*Table, error) {
	rows, err := db.Query(ctx, catalogueQuery)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var tables []*Table
	for rows.Next() {
		var t Table
		var c Column
		if err := rows.Scan(&t.Schema, &t.Name, &t.Kind, &t.visible, &t.readable, &c.Name, &c.Type, &c.Unique, &c.indexed,
			&c.refSchema, &c.refTable, &c.refColumn); err != nil {
			return nil, err
		}
		if last := len(tables) - 1; last < 0 || tables[last].Schema != t.Schema || tables[last].Name != t.Name {
			tables = append(tables, &t)
		}
		last := tables[len(tables)-1]
		if known := last.column(c.Name); known == nil { // a column may have two foreign keys; the first counts
			last.columns = append(last.columns, c)
		}
	}
	return tables, rows.Err()
}
