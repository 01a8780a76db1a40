/** While a page is made. */
export default function Loading() {
  return (
    <p className="hint" role="status">
      One moment…
    </p>
  );
}
