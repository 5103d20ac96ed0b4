/** A small real HTTP server with scripted answers, which records the requests it gets. */

import { createServer } from "node:http";

/**
 * Run the test with a server; `on(call, ...answers)` sets its answers, each given once, the last any number of times.
 * A body that is a generator is sent piece by piece; the connection breaks off where it throws.
 */
export async function withServer(test) {
  const answers = new Map();
  const requests = [];
  const server = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", async () => {
      const body = Buffer.concat(chunks).toString("latin1");
      const path = request.url.split("?")[0];
      requests.push({ method: request.method, path, headers: request.headers, body });
      const script = answers.get(`${request.method} ${path}`);
      const chosen = script ? (script.length > 1 ? script.shift() : script[0]) : [404, {}, { detail: "There is nothing here." }];
      const [status, headers, answer] = typeof chosen === "function" ? await chosen(requests.at(-1)) : chosen;
      if (status === 0) return void request.socket.destroy();
      response.writeHead(status, headers);
      if (answer?.[Symbol.asyncIterator]) {
        try {
          for await (const piece of answer) response.write(piece);
        } catch {
          return void request.socket.destroy();
        }
        return void response.end();
      }
      response.end(typeof answer === "string" ? answer : JSON.stringify(answer));
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const url = `http://127.0.0.1:${server.address().port}`;
    await test({ url, requests, on: (call, ...given) => answers.set(call, given) });
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** A job with these predictions. */
export function job(status, more = {}) {
  const predictions = more.predictions ?? [];
  const terminal = !["QUEUED", "RUNNING"].includes(status);
  return { _id: "j1", status, terminal, progress: { total: predictions.length, done: 0, failed: 0 }, ...more, predictions };
}
