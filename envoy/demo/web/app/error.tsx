"use client";

export default function Failed({ reset }: { error: Error; reset: () => void }) {
  return (
    <section aria-labelledby="failed">
      <h1 id="failed">This page could not be made</h1>
      <p>You are as signed in as before. Try again in a moment.</p>
      <button type="button" onClick={reset}>
        Try again
      </button>
    </section>
  );
}
