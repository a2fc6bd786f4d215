// The simulated helpdesks of a local stack, and their faults.

import { $, button, list, make, many, tell } from "./elements.js";
import { doing } from "./looking.js";

let switches = [];

export function offerSwitches(offered) {
  switches = offered;
}

export function showSimulators(simulators) {
  list($("simulator-list"), simulators, (desk) => desk.name, (desk) => {
    const count = make("span", { className: "quiet" }), faults = make("ul"), none = make("p", { className: "quiet" }, "It works: no fault is switched on.");
    const body = make("tbody");
    const does = (what, words) => button(words, (pressed) => doing(pressed, "simulate", { helpdesk: desk.name, what }));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...["Ticket", "Title", "E-mail", "State", "Comments"].map((words) => make("th", { scope: "col" }, words)))), body);
    const revoke = does("revoke", "Refuse the token"), accept = does("accept", "Take the token again");
    const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `Tickets of ${desk.title}` }, table);
    const element = make("div", { className: "card", "data-simulator": desk.name },
      make("div", { className: "head" }, make("h3", {}, desk.title), count), none, faults,
      make("div", { className: "switches", role: "group", "aria-label": `Faults of ${desk.title}` }, does("clear", "Work again"),
        ...switches.map(({ name, label }) => does(name, label)), revoke, accept), scroll);
    return { element, update: (now) => {
      tell(count, `${many(now.count, "ticket")}${now.count > now.tickets.length ? `, the latest ${now.tickets.length} shown` : ""}`);
      const failing = now.faults.map(({ label, hits }) => `${label} (${many(hits, "call")} so far)`);
      if (!now.takes_token) failing.unshift("It refuses the token that is in the secret");
      none.hidden = failing.length > 0;
      faults.hidden = !failing.length;
      list(faults, failing.map((words, place) => ({ words, place })), ({ place }) => place, () => {
        const item = make("li");
        return { element: item, update: ({ words }) => tell(item, words) };
      });
      // The one that has just been pressed hands its focus on.
      const gives = now.takes_token ? accept : revoke, takes = now.takes_token ? revoke : accept;
      const held = document.activeElement === gives;
      gives.hidden = true;
      takes.hidden = false;
      if (held) takes.focus();
      scroll.hidden = !now.tickets.length;
      list(body, now.tickets, (ticket) => ticket.ticket_id, () => {
        const cells = [0, 1, 2, 3, 4].map(() => make("td"));
        return { element: make("tr", {}, ...cells), update: (ticket) =>
          [ticket.ticket_id, ticket.title, ticket.email, ticket.state, ticket.comments].forEach((words, place) => tell(cells[place], words)) };
      });
    } };
  });
}
