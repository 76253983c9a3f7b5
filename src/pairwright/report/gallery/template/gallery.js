// Looking at pairs: one at a time, by keyboard. Whatever comes from the data is set as text, never as markup.
(() => {
  "use strict";
  const of = (id) => document.getElementById(id);
  const compare = of("compare");
  const range = compare.querySelector("input");
  const AROUND = 7; // small pictures on each side of the one that is shown
  const WORDS = { gap: "gap", winner_score: "winner's score", loser_score: "loser's score", mask_area: "share repainted", rank: "rank", rank_score: "rank's score" };
  let data = null;
  let shown = []; // pairs that pass the filters, in order
  let at = 0;

  const make = (tag, text, parent, name) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    if (parent) parent.append(made);
    return made;
  };
  const many = (count) => `${count.toLocaleString("en")} ${count === 1 ? "pair" : "pairs"}`;
  const dot = " \u00b7 ";

  const limits = () =>
    [...document.querySelectorAll("#ranges fieldset")].map((each) => {
      const [low, high] = [...each.querySelectorAll("input")].map((input) => (input.value === "" ? null : Number(input.value)));
      return { name: each.dataset.name, low, high };
    });

  const select = (keep) => {
    const text = of("text").value.trim().toLowerCase();
    const which = of("which").value;
    const bounds = limits().filter((each) => each.low !== null || each.high !== null);
    shown = data.pairs.filter((pair) => {
      if (text && !pair.caption.toLowerCase().includes(text)) return false;
      if (which !== "all" && (pair.veto !== null) !== (which === "vetoed")) return false;
      return bounds.every(({ name, low, high }) => {
        const value = pair.numbers[name];
        return value !== undefined && (low === null || value >= low) && (high === null || value <= high);
      });
    });
    const sort = of("sort").value;
    if (sort) {
      const sign = of("backwards").checked ? -1 : 1;
      const value = (pair) => pair.numbers[sort];
      shown.sort((a, b) => (value(a) === undefined) - (value(b) === undefined) || sign * (value(a) - value(b)) || 0);
    } else if (of("backwards").checked) shown.reverse();
    const place = shown.indexOf(keep);
    show(place >= 0 ? place : 0);
  };

  const show = (place) => {
    at = Math.max(0, Math.min(place, shown.length - 1));
    const pair = shown[at];
    const vetoed = data.pairs.filter((each) => each.veto !== null).length;
    of("count").textContent = (pair ? `${at + 1} of ${many(shown.length)}` : "no pair") + dot + `${many(data.pairs.length)} in all` + dot + `${vetoed} vetoed`;
    compare.hidden = !pair;
    of("nothing").hidden = Boolean(pair);
    of("nothing").textContent = data.pairs.length ? "No pair is as asked for." : "There are no pairs.";
    of("veto").disabled = !pair;
    of("facts").replaceChildren();
    of("caption").textContent = pair ? pair.caption : "";
    of("credit").textContent = pair ? pair.credit : "";
    strip();
    if (!pair) return;
    for (const [name, value] of pair.facts) {
      const line = make("div", undefined, of("facts"));
      make("dt", name, line);
      make("dd", value, line);
    }
    for (const [index, side] of ["winner", "loser"].entries()) {
      of(side).src = `${pair.key}/${side}`;
      of(side).alt = `${data.sides[index]}: ${pair.caption}`;
    }
    state(pair);
    draw(pair);
  };

  const state = (pair) => {
    compare.classList.toggle("vetoed", pair.veto !== null);
    of("veto").setAttribute("aria-pressed", String(pair.veto !== null));
    of("veto").textContent = pair.veto !== null ? "Vetoed" : "Veto";
    of("reason").value = pair.veto ?? "";
  };

  const draw = async (pair) => {
    const answer = await fetch(`${pair.key}/shape.json`);
    if (shown[at] !== pair) return; // moved on meanwhile
    const shape = answer.ok ? await answer.json() : null;
    of("said").textContent = shape ? "" : "A picture of this pair cannot be read.";
    if (shape) compare.style.aspectRatio = `${shape.width} / ${shape.height}`;
    for (const path of of("outline").children) path.setAttribute("d", shape ? shape.outline : "");
  };

  const strip = () => {
    const first = Math.max(0, Math.min(at - AROUND, shown.length - 2 * AROUND - 1));
    of("strip").replaceChildren(
      ...shown.slice(first, first + 2 * AROUND + 1).map((pair, index) => {
        const button = make("button", undefined, null, pair.veto !== null ? "vetoed" : "");
        button.type = "button";
        button.tabIndex = -1;
        button.setAttribute("role", "option");
        button.setAttribute("aria-selected", String(first + index === at));
        button.setAttribute("aria-label", pair.caption);
        const image = make("img", undefined, button);
        image.src = `${pair.key}/small`;
        image.alt = "";
        image.draggable = false;
        button.addEventListener("click", () => show(first + index));
        return button;
      }),
    );
    const current = of("strip").querySelector('[aria-selected="true"]');
    if (current) of("strip").scrollLeft = current.offsetLeft - of("strip").offsetLeft - (of("strip").clientWidth - current.offsetWidth) / 2;
  };

  const send = async (key, reason) => {
    try {
      const answer = await fetch("veto", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ key, reason }) });
      if (answer.ok) return true;
      of("said").textContent = `Not saved: ${(await answer.json()).error}`;
    } catch {
      of("said").textContent = "Not saved: the server does not answer. Is the command still running?";
    }
    return false;
  };

  const veto = async (reason) => {
    const pair = shown[at];
    if (!pair || !(await send(pair.key, reason))) return;
    pair.veto = reason;
    of("said").textContent = "";
    if (of("which").value === "all") {
      if (shown[at] === pair) state(pair);
      show(at);
    } else select(shown[at + 1] ?? shown[at - 1]);
  };
  const toggle = () => shown[at] && veto(shown[at].veto === null ? of("reason").value : null);

  const turn = () => {
    range.value = Number(range.value) > 50 ? 0 : 100;
    range.dispatchEvent(new Event("input"));
  };
  const move = (by) => {
    range.value = Number(range.value) + by;
    range.dispatchEvent(new Event("input"));
  };
  const KEYS = {
    j: () => show(at + 1),
    k: () => show(at - 1),
    v: toggle,
    r: () => of("reason").focus(),
    " ": turn,
    m: () => of("masks").click(),
    ArrowLeft: () => move(-4),
    ArrowRight: () => move(4),
    Home: () => show(0),
    End: () => show(shown.length - 1),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=range]):not([type=checkbox]), select");
    if (typing && event.key === "Escape") event.target.blur();
    if (typing && event.target.id === "reason" && event.key === "Enter") {
      veto(of("reason").value);
      event.target.blur();
    }
    const pressing = event.key === " " && event.target.matches("button, summary, input[type=checkbox]");
    if (typing || pressing || event.ctrlKey || event.altKey || event.metaKey) return;
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });

  const begin = () => {
    of("name").textContent = data.name;
    document.title = "pairs \u00b7 pairwright";
    [...compare.querySelectorAll(".side")].forEach((each, index) => (each.textContent = data.sides[index]));
    of("sort").append(new Option("as they come", ""), ...data.scores.map((name) => new Option(word(name), name)));
    for (const name of data.scores) {
      const values = data.pairs.map((pair) => pair.numbers[name]).filter((value) => value !== undefined);
      const set = make("fieldset", undefined, of("ranges"));
      set.dataset.name = name;
      make("legend", word(name), set);
      for (const [side, value] of [["at least", Math.min(...values)], ["at most", Math.max(...values)]]) {
        const input = make("input", undefined, set);
        Object.assign(input, { type: "number", step: "any", placeholder: `${Number(value.toPrecision(4))}` });
        input.setAttribute("aria-label", `${word(name)}, ${side}`);
        input.addEventListener("input", () => select(shown[at]));
      }
    }
    for (const id of ["text", "sort", "backwards", "which"]) of(id).addEventListener("input", () => select(shown[at]));
    of("veto").addEventListener("click", toggle);
    of("reason").addEventListener("change", () => shown[at] && shown[at].veto !== null && veto(of("reason").value));
    of("effect").textContent = data.run
      ? "Vetoes are kept beside the run. Start the run again, and its pairs are made without them: others take their places, and what is trained then has not seen them."
      : "Vetoes are kept in a file beside these pairs.";
    road();
    earlier();
    select();
  };
  const word = (name) => (name === "gap" && data.measure ? `gap (${data.measure})` : WORDS[name]);

  const road = () => {
    of("road").hidden = !data.funnel.length;
    const widest = Math.max(1, ...data.funnel.map((each) => each.entered));
    for (const each of data.funnel) {
      const line = make("li", undefined, of("funnel"));
      make("span", each.name, line, "name");
      const track = make("span", undefined, line, "track");
      make("span", undefined, track, "stayed").style.width = `${(100 * each.stayed) / widest}%`;
      make("span", undefined, track, "left").style.width = `${(100 * (each.entered - each.stayed)) / widest}%`;
      const count = make("span", undefined, line, "count");
      make("b", each.stayed.toLocaleString("en"), count);
      count.append(` of ${each.entered.toLocaleString("en")}`);
      line.title = each.reasons.map(([reason, times]) => `${times} \u00d7 ${reason}`).join("\n");
    }
  };
  const earlier = () => {
    of("earlier").hidden = !data.gone.length;
    for (const each of data.gone) {
      const line = make("li", undefined, of("gone"));
      make("span", each.reason ? `${each.id}: ${each.reason}` : each.id, line);
      const back = make("button", "Take back", line);
      back.type = "button";
      back.addEventListener("click", async () => (await send(each.key, null)) && line.remove());
    }
  };

  fetch("pairs.json")
    .then((answer) => answer.json())
    .then((found) => {
      data = found;
      begin();
    })
    .catch((error) => (of("count").textContent = `The pairs cannot be had: ${error.message}`));
})();
