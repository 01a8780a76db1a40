package extauthz

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// BenchmarkStandbyInEachAnswer is what it costs PostgreSQL, and in all, that each answer says whether a standby gave
// it: the session query with it over the same without, in turn on one connection, for one token and for a batch.
func BenchmarkStandbyInEachAnswer(b *testing.B) {
	dsn := sessionsDatabase(b)
	tokens := insertSessions(b, dsn, 2000)
	a := startAuthorizer(b, Config{JWKSURL: serveKeys(b, testKeys()).URL, DatabaseURL: dsn, DatabaseConnections: 1})
	query := a.only().database.Query.Load().Query
	plain := func(query string) string {
		_, inner, _ := strings.Cut(query, "left join (")
		inner, _, _ = strings.Cut(inner, ") f on true")
		return inner
	}
	conn := connections(a)[0].Conn
	run := func(text string, argument any) {
		rows, err := conn.Query(context.Background(), text, pgx.QueryExecModeCacheStatement, argument)
		if err != nil {
			b.Fatal(err)
		}
		for rows.Next() {
		}
		if rows.Err() != nil {
			b.Fatal(rows.Err())
		}
	}
	for _, size := range []int{1, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			texts, argument := [2]string{plain(query.Many), query.Many}, any(tokens[:size])
			if size == 1 {
				texts, argument = [2]string{plain(query.One), query.One}, tokens[0]
			}
			var took, server [2]time.Duration
			const round = 500
			for range b.N {
				for i, text := range texts {
					before, started := processorTime(b, dsn), time.Now()
					for range round {
						run(text, argument)
					}
					took[i] += time.Since(started)
					server[i] += processorTime(b, dsn) - before
				}
			}
			b.ReportMetric(float64(took[1])/float64(took[0]), "time-ratio")
			b.ReportMetric(float64(server[1])/float64(server[0]), "postgres-ratio")
			b.ReportMetric(float64(server[1].Microseconds())/float64(b.N)/round, "postgres-µs/query")
			b.ReportMetric(0, "ns/op")
		})
	}
}
