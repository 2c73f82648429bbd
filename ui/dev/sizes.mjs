// Tells what a first visit loads, and the weight of every file: `npm run build && npm run sizes`.
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const dist = new URL("../dist/", import.meta.url);
const first = [...readFileSync(new URL("index.html", dist), "utf8").matchAll(/(?:src|href)="\/(assets\/[^"]+\.(?:js|css))"/g)].map((m) => m[1]);
const kib = (n) => `${(n / 1024).toFixed(1).padStart(8)} KiB`;
let total = 0;
for (const name of readdirSync(new URL("assets/", dist)).sort()) {
  const path = `assets/${name}`;
  const body = readFileSync(new URL(path, dist));
  const size = /\.(js|css)$/.test(name) ? gzipSync(body).length : body.length;
  if (first.includes(path)) total += size;
  console.log(`${kib(size)}  ${first.includes(path) ? "first" : "later"}  ${name}`);
}
console.log(`${kib(total)}  loaded at first, compressed, without fonts`);
