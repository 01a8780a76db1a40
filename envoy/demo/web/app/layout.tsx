import type { Metadata, Viewport } from "next";
import Link from "next/link";
import { connection } from "next/server";
import "./globals.css";

export const metadata: Metadata = { title: { default: "What the backend saw", template: "%s · What the backend saw" }, description: "Better Auth, Envoy and extauthz, with a FastAPI backend that holds no key" };
export const viewport: Viewport = { colorScheme: "light dark" };

export default async function Layout({ children }: { children: React.ReactNode }) {
  await connection(); // a nonce is for one answer, so no page is made in advance
  return (
    <html lang="en">
      <body>
        <a className="skip" href="#content">
          Skip to content
        </a>
        <header>
          <Link href="/">What the backend saw</Link>
        </header>
        <main id="content" tabIndex={-1}>
          <noscript>
            <p className="outage">These pages need JavaScript, which is off in this browser: it signs people in, and makes the browser’s own calls.</p>
          </noscript>
          {children}
        </main>
      </body>
    </html>
  );
}
