// Looks again and again, and at once after an action.

import { ask } from "./asking.js";
import { acting, done } from "./elements.js";

let timer, looking = null, showOnce;

// What one look does; it returns the seconds until the next.
export function shows(once) {
  showOnce = once;
}

async function lookOnce() {
  const pause = await showOnce();
  // A page that nobody looks at asks less often.
  timer = setTimeout(look, pause * (document.hidden ? 10 : 1) * 1000);
}

export function look() {
  clearTimeout(timer);
  looking ??= lookOnce().finally(() => { looking = null; });
  return looking;
}

export function doing(button, path, content) {
  return acting(button, async () => {
    try {
      done((await ask(path, content)).words);
    } catch (failure) {
      done(failure.message, "bad");
    }
    await look();
  });
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
