// Asks the console’s server.

const TOKEN = document.querySelector('meta[name="token"]').content;
// The server answers a look within 10 seconds. A search or a redrive of much may take minutes, and goes on without us.
const LOOK_MS = 13_000, PATIENCE_MS = 600_000;

export class Failure extends Error {
  constructor(words, errors = []) {
    super(words);
    this.errors = errors;
  }
}

export async function ask(path, content) {
  const how = { signal: AbortSignal.timeout(path === "now" ? LOOK_MS : PATIENCE_MS), cache: "no-store" };
  if (content !== undefined) {
    how.method = "POST";
    how.headers = { "Content-Type": "application/json", "X-Console-Token": TOKEN };
    how.body = JSON.stringify(content);
  }
  let answer;
  try {
    answer = await fetch(`api/${path}`, how);
  } catch (error) {
    throw new Failure(error.name === "TimeoutError"
      ? "The stack has not answered in time."
      : "The console itself does not answer: it was stopped. Start it with bridge up or bridge console, and open the address that it prints.");
  }
  const told = await answer.json().catch(() => ({ error: `The console answered with ${answer.status}.` }));
  if (!answer.ok) throw new Failure(told.error, told.errors);
  return told;
}
