// Asks the console’s server.

const TOKEN = document.querySelector('meta[name="token"]').content;
const PATIENCE_MS = 13_000;

export class Failure extends Error {
  constructor(words, errors = []) {
    super(words);
    this.errors = errors;
  }
}

export async function ask(path, content, patienceMs = PATIENCE_MS) {
  const how = { signal: AbortSignal.timeout(patienceMs), cache: "no-store" };
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
