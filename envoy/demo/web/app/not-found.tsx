import Link from "next/link";

export default function NotFound() {
  return (
    <section aria-labelledby="missing">
      <h1 id="missing">There is no such page</h1>
      <p>
        <Link href="/">To the start</Link>
      </p>
    </section>
  );
}
