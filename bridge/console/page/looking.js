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
  timer = setTimeout(lookOrJoin, pause * (document.hidden ? 10 : 1) * 1000);
}

function lookOrJoin() {
  clearTimeout(timer);
  looking ??= lookOnce().finally(() => { looking = null; });
  return looking;
}

export async function look() {
  // A look that is under way began before what the caller has done.
  await looking;
  return lookOrJoin();
}

export function doing(button, path, content) {
  return acting(button, async () => {
    let words, level;
    try {
      ({ words } = await ask(path, content));
    } catch (failure) {
      [words, level] = [failure.message, "bad"];
    }
    // First, so that the page does not contradict the words.
    await look();
    done(words, level);
  });
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) lookOrJoin(); });
