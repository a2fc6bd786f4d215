// The console’s page: asks for what holds now, shows it, and sends what a person does.

import { Failure, ask } from "./asking.js";
import { onAddress } from "./address.js";
import { showAlarms } from "./alarms.js";
import { $, clock, local, mark, tell } from "./elements.js";
import { showFilters } from "./finding.js";
import { showHelpdesks } from "./helpdesks.js";
import { look, shows } from "./looking.js";
import { startPlots } from "./plots.js";
import { showRequests } from "./requests.js";
import { offerSwitches, showSimulators } from "./simulators.js";
import { showStatus } from "./status.js";
import { openStory, showStory } from "./story.js";
import { offerForms } from "./trying.js";

let isReady = false;

async function showNow() {
  let pause = 2;
  try {
    const now = await ask("now");
    document.body.classList.toggle("local", now.is_local);
    document.body.classList.toggle("deployed", !now.is_local);
    for (const part of document.querySelectorAll(".only-local")) part.hidden = !now.is_local;
    for (const part of document.querySelectorAll(".only-deployed")) part.hidden = now.is_local;
    showHelpdesks(now);
    if (!isReady) {
      const choices = await ask("choices");
      offerForms(choices.forms);
      offerSwitches(choices.switches);
      startPlots();
      onAddress(({ requestId, filters }, isAsked) => {
        openStory(requestId);
        showFilters(filters, isAsked);
      });
      isReady = true;
    }
    tell($("where"), `${now.stack}, ${now.is_local ? "local stack" : `deployed in ${now.region}`} · seen at ${clock(now.at)}`);
    showStatus(now);
    showRequests(now.requests);
    showStory(now);
    if (now.simulators) showSimulators(now.simulators);
    showAlarms(now.alarms);
    document.title = `${$("verdict").textContent} – Ticket Bridge`;
    pause = now.every_s;
  } catch (failure) {
    if (!(failure instanceof Failure)) console.error(failure);
    mark($("status"), "bad");
    tell($("verdict"), "The stack cannot be reached");
    tell($("why"), `${failure.message}\nWhat is shown below is as it was last seen. This page tries again by itself.`);
    document.title = "Not reached – Ticket Bridge";
  }
  return pause;
}

shows(showNow);
look();
