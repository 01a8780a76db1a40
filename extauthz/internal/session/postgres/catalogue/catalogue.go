// Package catalogue is PostgreSQL's own account of a database's tables and columns, and of what the role that asks may
// read of them. It imports nothing of this module. It does not know what any of them is for.
package catalogue

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
	Visible      bool   // found without naming its schema (search_path)
	Readable     bool   // the role may read some of it
	Reader       string // the role
	OID          int64
	Attributes   int // how many columns it has had, with those that were dropped
	columns      []Column
}

// Column is one column of a table.
type Column struct {
	Name    string
	Type    string // pg_type.typname; of a domain the type below it
	Unique  bool   // alone in a unique index that is not the primary key
	Indexed bool   // first in some index
	// Readable tells that the role may read it.
	Readable bool
	// These are the table and column that a foreign key of this column alone points to.
	RefSchema, RefTable, RefColumn string
}

// String is the quoted name, with its schema.
func (t *Table) String() string { return Quote(t.Schema) + "." + Quote(t.Name) }

// Column returns the column of exactly this name, nil where there is none.
func (t *Table) Column(name string) *Column {
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
			if PlainName(t.columns[i].Name) == plain {
				return &t.columns[i]
			}
		}
	}
	return nil
}

// Only returns the one column that fits, or nil when none or several do.
func (t *Table) Only(fits func(*Column) bool) *Column {
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

// PlainName is a name without case and underscores.
func PlainName(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// IsText tells whether it holds texts.
func (c *Column) IsText() bool {
	return slices.Contains([]string{"text", "varchar", "bpchar", "citext"}, c.Type)
}

// IsTimestamp tells whether it holds times, with a zone or without.
func (c *Column) IsTimestamp() bool { return c.Type == "timestamptz" || c.Type == "timestamp" }

// catalogueQuery lists every column of every table and view that is not PostgreSQL's own. It reads
// pg_catalog, which any role may, and not information_schema, which hides what a role cannot read.
const catalogueQuery = `
select n.nspname::text, c.relname::text, c.relkind::text, pg_table_is_visible(c.OID),
  coalesce(has_any_column_privilege(c.OID, 'select'), false), a.attname::text, coalesce(b.typname, t.typname)::text,
  exists (select from pg_index i where i.indrelid = c.OID and i.indisunique and not i.indisprimary
          and i.indnkeyatts = 1 and i.indkey[0] = a.attnum and i.indpred is null),
  exists (select from pg_index i where i.indrelid = c.OID and i.indisvalid and i.indkey[0] = a.attnum
    and i.indpred is null)
    or c.relkind not in ('r', 'p'),
  coalesce(rn.nspname::text, ''), coalesce(rc.relname::text, ''), coalesce(ra.attname::text, ''),
  current_user::text, c.OID::bigint, c.relnatts::int, coalesce(has_column_privilege(c.OID, a.attnum, 'select'), false)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.OID and a.attnum > 0 and not a.attisdropped
join pg_type t on t.OID = a.atttypid
left join pg_type b on b.oid = t.typbasetype and t.typtype = 'd'
left join pg_constraint f on f.conrelid = c.OID and f.contype = 'f' and f.conkey = array[a.attnum]
left join pg_class rc on rc.oid = f.confrelid
left join pg_namespace rn on rn.oid = rc.relnamespace
left join pg_attribute ra on ra.attrelid = f.confrelid and ra.attnum = f.confkey[1]
where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition -- which the whole table stands for
  and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname not like 'pg_temp%'
order by n.nspname, c.relname, a.attnum`

// Read returns the database's tables.
func Read(ctx context.Context, db interface {
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
		if err := rows.Scan(&t.Schema, &t.Name, &t.Kind, &t.Visible, &t.Readable, &c.Name, &c.Type, &c.Unique, &c.Indexed,
			&c.RefSchema, &c.RefTable, &c.RefColumn, &t.Reader, &t.OID, &t.Attributes, &c.Readable); err != nil {
			return nil, err
		}
		if last := len(tables) - 1; last < 0 || tables[last].Schema != t.Schema || tables[last].Name != t.Name {
			tables = append(tables, &t)
		}
		last := tables[len(tables)-1]
		if known := last.Column(c.Name); known == nil { // a column may have two foreign keys; the first counts
			last.columns = append(last.columns, c)
		}
	}
	return tables, rows.Err()
}

// Quote is a name as SQL has it.
func Quote(name string) string { return pgx.Identifier{name}.Sanitize() }
