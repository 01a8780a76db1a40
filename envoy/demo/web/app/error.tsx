"use client";

/** A page that could not be made, as while the database is away. */
export default function Failed({ retry }: { error: Error; retry: () => void }) {
  return (
    <section aria-labelledby="failed">
      <h1 id="failed">This page could not be made</h1>
      <p>You are as signed in as before. Try again in a moment.</p>
      <button type="button" onClick={retry}>
        Try again
      </button>
    </section>
  );
}
