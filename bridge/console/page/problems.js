// Marks the fields of a form that are wrong, by their names.

import { make } from "./elements.js";

// Returns in words what no visible field shows.
export function showProblems(form, problems) {
  const unplaced = problems.filter(({ field, problem }) => {
    const control = form.querySelector(`[name="${CSS.escape(field)}"]`), label = control?.closest("label");
    if (!label || label.hidden) return true;
    label.classList.add("wrong");
    control.setAttribute("aria-invalid", "true");
    label.append(make("span", { className: "problem" }, problem));
    return false;
  });
  form.querySelector("[aria-invalid]")?.focus();
  return unplaced.map(({ field, problem }) => `${field}: ${problem}`);
}

export function clearProblems(form) {
  for (const label of form.querySelectorAll(".wrong")) {
    label.classList.remove("wrong");
    label.querySelector("[aria-invalid]").removeAttribute("aria-invalid");
    label.querySelector(".problem").remove();
  }
}
