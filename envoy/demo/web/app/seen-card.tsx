import type { Seen } from "@/lib/seen";

const time = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium", timeZone: "UTC" }); // the same on the server and in the browser

function Moment({ date }: { date: Date }) {
  return <time dateTime={date.toISOString()}>{time.format(date)} UTC</time>;
}

function Fact({ label, children }: { label: string; children: React.ReactNode }) {
  return (
    <>
      <dt>{label}</dt>
      <dd>{children}</dd>
    </>
  );
}

const methods: Record<string, string> = { jwks: "JWT, by a key of the JWKS", hs256: "JWT, by the shared secret", session: "session, by its row in PostgreSQL" };

/** The identity that the backend got, as a table. */
export function SeenCard({ seen, caption }: { seen: Seen; caption: string }) {
  return (
    <>
      <dl>
        <Fact label="Authenticated by">{methods[seen.method] ?? seen.method}</Fact>
        {seen.issuedAt !== undefined && (
          <Fact label="Issued">
            <Moment date={seen.issuedAt} />
          </Fact>
        )}
        {seen.expiresAt !== undefined && (
          <Fact label="Expires">
            <Moment date={seen.expiresAt} />
          </Fact>
        )}
        {seen.checkMilliseconds !== undefined && (
          <Fact label="The check took">{seen.checkMilliseconds < 1 ? "less than 1 ms" : `${seen.checkMilliseconds} ms`}, by Envoy’s clock</Fact>
        )}
      </dl>
      <div className="scroll" tabIndex={0} role="region" aria-label={caption}>
        <table>
          <caption>{caption}</caption>
          <thead>
            <tr>
              <th scope="col">Header</th>
              <th scope="col">Value</th>
            </tr>
          </thead>
          <tbody>
            {seen.headers.map(([name, value]) => (
              <tr key={name}>
                <th scope="row">
                  <code>{name}</code>
                </th>
                <td>{value}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
