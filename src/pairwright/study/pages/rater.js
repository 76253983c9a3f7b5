"use strict";
// One answer at a time: it is kept in this browser until the server has acknowledged it, and sent again until then.

const byId = (id) => document.getElementById(id);
const [prefix, token] = location.pathname.split("/r/");
const kept = `pairwright ${token}`;
const stacked = matchMedia("(max-width: 44rem) and (orientation: portrait)");
const answers = [...document.querySelectorAll("[data-answer]")];
const pictures = { left: byId("left"), right: byId("right") };
let rules = { ties: false, least_seconds: 0 };
let state = null;
let seen = 0; // when both pictures were first visible
let ready = false;
let busy = false;

class Refused extends Error {}

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

function notice(text) {
  byId("notice").textContent = text;
}

async function once(path, body) {
  const options = { signal: AbortSignal.timeout(15000), cache: "no-store" };
  if (body !== undefined) {
    Object.assign(options, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  }
  return fetch(`${prefix}/api/${token}/${path}`, options);
}

async function ask(path, body) {
  for (let pause = 300; ; pause = Math.min(2 * pause, 5000)) {
    try {
      const response = await once(path, body);
      if (response.ok) {
        notice("");
        return await response.json();
      }
      if (response.status < 500 && response.status !== 425 && response.status !== 429) {
        throw new Refused((await response.json()).message);
      }
      if (response.status >= 500) notice("Not saved yet: the server does not answer. Trying again.");
    } catch (error) {
      if (error instanceof Refused) throw error;
      notice("Not saved yet: no connection. Trying again.");
    }
    await wait(pause);
  }
}

function identifier() {
  const bytes = crypto.getRandomValues(new Uint8Array(18));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

function remember(vote) {
  try {
    if (vote) localStorage.setItem(kept, JSON.stringify(vote));
    else localStorage.removeItem(kept);
  } catch {
    // private windows may have no storage: the vote is then sent again only while the page is open
  }
}

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(kept));
  } catch {
    return null;
  }
}

function address(picture) {
  return `${prefix}/picture/${picture}`;
}

function only(id) {
  for (const each of document.querySelectorAll("main")) each.hidden = each.id !== id;
}

function enable(on) {
  ready = on;
  for (const each of answers) each.setAttribute("aria-disabled", String(!on));
}

async function show(next) {
  state = next;
  enable(false);
  byId("zoom").close();
  for (const id of ["undo", "undo-end"]) byId(id).disabled = !state.undo;
  byId("bar").max = Math.max(state.total, 1);
  byId("bar").value = state.done;
  byId("count").textContent = `${Math.min(state.done + 1, state.total)} of ${state.total}`;
  if (!state.pair) {
    only("end");
    byId("end").querySelector("h1").tabIndex = -1;
    byId("end").querySelector("h1").focus();
    return;
  }
  only("vote");
  const { assignment, prompt } = state.pair;
  byId("prompt").textContent = prompt;
  byId("vote").classList.add("loading");
  for (const side of ["left", "right"]) {
    pictures[side].src = address(state.pair[side]);
    pictures[side].alt = `${side === "left" ? "First" : "Second"} picture for: ${prompt}`;
  }
  let failed = false;
  while (!(await decoded()) && assignment === state.pair?.assignment) {
    failed = true;
    notice("A picture does not load. Trying again.");
    await wait(2000);
    for (const each of Object.values(pictures)) each.src = each.src.split("?")[0] + `?again=${identifier()}`;
  }
  if (assignment !== state.pair?.assignment) return;
  if (failed) notice("");
  byId("vote").classList.remove("loading");
  byId("spoken").textContent = `Pair ${state.done + 1} of ${state.total}: ${prompt}`;
  seen = performance.now();
  if (state.next) for (const side of ["left", "right"]) new Image().src = address(state.next[side]);
  await wait(1000 * rules.least_seconds);
  if (assignment === state.pair?.assignment) enable(true);
}

async function decoded() {
  const settled = await Promise.allSettled(Object.values(pictures).map((each) => each.decode()));
  return settled.every((each) => each.status === "fulfilled");
}

async function change(path, body) {
  busy = true;
  try {
    show(await ask(path, body));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    await begin(error.message);
  } finally {
    busy = false;
  }
}

async function answer(given, button) {
  if (!ready || busy) return;
  enable(false);
  button?.classList.add("given");
  const vote = {
    id: identifier(),
    assignment: state.pair.assignment,
    answer: given,
    milliseconds: Math.round(performance.now() - seen),
    layout: stacked.matches ? "stacked" : "side",
  };
  remember(vote);
  await change("vote", vote);
  remember(null);
  button?.classList.remove("given");
}

async function undo() {
  if (!busy && state?.undo) await change("undo", { vote: state.undo });
}

function enlarge(side) {
  const large = byId("large");
  large.src = pictures[side].src;
  large.alt = pictures[side].alt;
  for (const each of document.querySelectorAll("[data-large]")) each.setAttribute("aria-pressed", String(each.dataset.large === side));
  if (!byId("zoom").open) byId("zoom").showModal();
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || byId("vote").hidden) return;
  const pressed = event.key.toLowerCase();
  if (byId("zoom").open) {
    if (pressed === "arrowleft" || pressed === "arrowup") enlarge("left");
    else if (pressed === "arrowright" || pressed === "arrowdown") enlarge("right");
    else if (pressed === "z") byId("zoom").close();
    else return;
  } else {
    const given = { arrowleft: "left", arrowright: "right" };
    if (rules.ties) given.t = "tie";
    if (stacked.matches) Object.assign(given, { arrowup: "left", arrowdown: "right" });
    if (given[pressed]) answer(given[pressed], answers.find((each) => each.dataset.answer === given[pressed]));
    else if (pressed === "u") undo();
    else if (pressed === "z") enlarge("left");
    else return;
  }
  event.preventDefault();
}

async function begin(said = "") {
  const asked = await ask("state");
  rules = asked;
  if (asked.consented) show(asked);
  else if (!state) only("consent"); // they may have agreed while this was on its way
  if (said) notice(said);
}

async function start() {
  const left = remembered();
  if (left) {
    try {
      await ask("vote", left);
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // taken back, or answered in another window
    }
    remember(null);
  }
  await begin();
}

byId("agree").addEventListener("click", async () => {
  rules = await ask("consent", {});
  await show(rules);
});
for (const each of answers) each.addEventListener("click", () => answer(each.dataset.answer, each));
for (const id of ["undo", "undo-end"]) byId(id).addEventListener("click", undo);
for (const each of document.querySelectorAll("[data-side]")) each.addEventListener("click", () => enlarge(each.dataset.side));
for (const each of document.querySelectorAll("[data-large]")) each.addEventListener("click", () => enlarge(each.dataset.large));
byId("close").addEventListener("click", () => byId("zoom").close());
document.addEventListener("keydown", key);
start();
