// Sends a request or a form’s submission by hand.

import { ask } from "./asking.js";
import { $, acting, mark, tell } from "./elements.js";
import { look } from "./looking.js";
import { clearProblems, showProblems } from "./problems.js";

const tryForm = $("try");
let forms = [];

function chooseOperation() {
  const chosen = tryForm.operation.value;
  for (const name of ["add", "update", "get", "form"]) {
    for (const part of tryForm.querySelectorAll(`.for-${name}`)) part.hidden = name !== chosen;
  }
  for (const part of tryForm.querySelectorAll(".for-request")) part.hidden = chosen === "form";
}

function requestOf(fields) {
  const text = (name) => fields[name].value.trim() || undefined;
  const operation = fields.operation.value;
  const body = { operation, helpdesk: fields.helpdesk.value, request_id: text("request_id") };
  if (operation === "add") {
    const email = text("ticket.requester.email");
    body.ticket = { title: text("ticket.title") ?? "", details: text("ticket.details"), requester: email && { email } };
  } else if (operation === "update") {
    body.ticket_id = text("ticket_id");
    body.changes = { sub_status: text("changes.sub_status"), comment: text("changes.comment") };
  } else {
    body.ticket_ids = text("ticket_ids") ?? [];
  }
  return body;
}

tryForm.addEventListener("change", (event) => {
  if (event.target.name === "operation") {
    chooseOperation();
    clearProblems(tryForm);
    tell($("try-answer"), "");
  }
  if (event.target.name === "form") fillSubmission();
});
tryForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = $("try-answer"), button = tryForm.querySelector("button.main");
  clearProblems(tryForm);
  if (!document.body.classList.contains("local") && !tryForm.real.checked) {
    mark(answer, "bad");
    tell(answer, "Tick first that what you send is real.");
    tryForm.real.focus();
    return;
  }
  await acting(button, async () => {
    try {
      const isForm = tryForm.operation.value === "form";
      const told = isForm ? await ask("submissions", { form: tryForm.form.value, body: tryForm.submission.value })
        : await ask("requests", requestOf(tryForm));
      mark(answer, "");
      tell(answer, told.words);
      if (isForm) offerForms((await ask("choices")).forms);
    } catch (failure) {
      mark(answer, "bad");
      tell(answer, [failure.message, ...showProblems(tryForm, failure.errors)].join("; "));
    }
  });
  await look();
});

function fillSubmission() {
  tryForm.submission.value = forms.find(({ form }) => form === tryForm.form.value)?.body ?? "";
}

export function offerForms(offered) {
  const before = tryForm.form.value;
  forms = offered;
  tryForm.form.replaceChildren(...forms.map(({ form }) => new Option(form, form)));
  if (before) tryForm.form.value = before;
  fillSubmission();
}

chooseOperation();
