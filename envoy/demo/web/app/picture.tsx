const boxes = [
  ["Browser", "asks"],
  ["Envoy", "holds the request"],
  ["Backend", "reads headers"],
] as const;

/** The way of a request, as a picture. */
export function Picture() {
  return (
    <svg className="picture" viewBox="0 0 640 190" role="img" aria-labelledby="picture-title">
      <title id="picture-title">The browser asks Envoy. Envoy asks extauthz who that is, and passes the request to the backend with headers that say so, or refuses it.</title>
      <defs>
        <marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto-start-reverse">
          <path d="M0 0 10 5 0 10z" className="tip" />
        </marker>
      </defs>
      {boxes.map(([name, does], i) => (
        <g key={name} transform={`translate(${5 + i * 235} 10)`}>
          <rect width="160" height="62" rx="8" className={name === "Envoy" ? "box" : "box quiet-box"} />
          <text x="80" y="28" className="name">
            {name}
          </text>
          <text x="80" y="49" className="does">
            {does}
          </text>
        </g>
      ))}
      <path d="M168 41H235" className="way" markerEnd="url(#arrow)" />
      <path d="M403 41H470" className="way" markerEnd="url(#arrow)" />
      <path d="M300 76V118" className="way" markerEnd="url(#arrow)" />
      <path d="M340 118V76" className="way" markerEnd="url(#arrow)" />
      <text x="288" y="103" className="does end">
        who is it?
      </text>
      <text x="352" y="103" className="does start">
        Zoë, or nobody
      </text>
      <g transform="translate(240 122)">
        <rect width="160" height="62" rx="8" className="box accent-box" />
        <text x="80" y="28" className="name">
          extauthz
        </text>
        <text x="80" y="49" className="does">
          checks the token
        </text>
      </g>
    </svg>
  );
}
