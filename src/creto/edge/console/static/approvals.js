// What makes the approval page quick. Every act is a plain form: without it all still works, page by page.
"use strict";
(() => {
  const HOLD_MS = 1200;
  const byId = (id) => document.getElementById(id);
  const card = () => document.querySelector("article#card");
  const tell = (text) => { byId("told").textContent = text; };

  // Swapping what changed, in place, one after the other: each draws anew the place that the next one goes to.
  let turn = Promise.resolve();
  function inTurn(ask) {
    turn = turn.then(ask, ask);
    return turn;
  }
  const place = () => location.pathname + location.search;
  let unasked = false;
  function swap(path, target, focus, told) {
    return inTurn(() => (unasked = told, htmx.ajax("GET", path || place(), { target, select: target, swap: "outerHTML" })).then(() => {
      settle();
      if (focus && byId("effect")) byId("effect").focus();
    }, () => {})); // whoever looked has gone elsewhere
  }
  function goTo(path) {
    history.pushState(null, "", path);
    return swap(path, "#main", true);
  }
  addEventListener("popstate", () => swap(place(), "#main", true));

  // What is ticked stays ticked when the list is drawn anew.
  let kept = [];
  const boxes = () => [...document.querySelectorAll("#ticked input[name=id]")];
  const ticked = () => boxes().filter((box) => box.checked);
  document.addEventListener("htmx:beforeSwap", () => { kept = kept.concat(ticked().map((box) => box.value)); });
  function samePolicy() {
    const first = ticked()[0];
    boxes().forEach((box) => { box.disabled = first !== undefined && box.dataset.policy !== first.dataset.policy; });
  }

  // Time: the server's, as far as it was away from ours when the page was made.
  let ahead = 0;
  let refreshAt = 0;
  function settle() {
    const list = byId("inbox");
    kept.forEach((id) => { const box = boxes().find((one) => one.value === id); if (box) box.checked = true; });
    kept = [];
    samePolicy();
    if (list) ahead = Number(list.dataset.now) - Date.now();
    refreshAt = card() && card().dataset.settles ? Number(card().dataset.settles) + 400 : 0;
    if (byId("help-open")) byId("help-open").hidden = false;
    document.querySelectorAll(".presets").forEach((one) => { one.hidden = false; });
    holds();
    tick();
  }
  function left(ms) {
    const s = Math.max(0, Math.floor(ms / 1000));
    if (!s) return "no time left";
    const units = [[Math.floor(s / 86400), "d"], [Math.floor(s / 3600) % 24, "h"], [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
    const first = units.findIndex(([count]) => count);
    return units.slice(first, first + 2).filter(([count]) => count).map(([count, unit]) => count + " " + unit).join(" ") + " left";
  }
  function tick() {
    const now = Date.now() + ahead;
    document.querySelectorAll("time[data-ends]").forEach((one) => {
      const ms = one.dataset.ends - now;
      const text = left(ms);
      if (one.textContent !== text) one.textContent = text;
      one.classList.toggle("soon", ms < 60000);
    });
    document.querySelectorAll("[data-seconds]").forEach((one) => {
      one.textContent = Math.max(0, Math.ceil((one.dataset.seconds - now) / 1000));
    });
    document.querySelectorAll("progress[data-progress]").forEach((one) => { one.value = one.max - (one.dataset.progress - now); });
    if (refreshAt && now > refreshAt) {
      refreshAt = 0;
      swap("", "#main", false);
    }
  }
  setInterval(tick, 250);

  // Forms: in place; signed or held where that is asked. News waits meanwhile.
  let sending = 0;
  let signedOut = false; // what was asked last was answered with the sign-in, which takes no place of what is written
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, requestConfig } = event.detail;
    const stale = requestConfig.verb === "post" && xhr.status === 403 && !xhr.responseText.includes('id="card"'); // of an older session
    if (new URL(xhr.responseURL).pathname !== "/login" && !stale) return;
    event.detail.shouldSwap = false;
    signedOut = true;
    if (requestConfig.verb === "get" && !writing()) location.assign(xhr.responseURL);
  });
  function lost(form) {
    trouble(form, "Your session has ended, and nothing was sent. Keep a copy of what you wrote. ");
    const link = document.createElement("a");
    link.href = "/login?next=" + location.pathname;
    link.textContent = "Sign in again";
    const line = form.querySelector(".bad");
    line.append(link);
    const more = document.createElement("script");
    more.src = "/static/signing.js";
    more.onload = () => creto.stay(line, tell, listen);
    document.head.append(more);
  }
  function send(form, more, submitter) {
    const values = Object.assign(Object.fromEntries(new FormData(form)), more);
    const items = new FormData(form).getAll("item");
    if (items.length) values.item = items;
    const path = submitter && submitter.hasAttribute("formaction") ? submitter.formAction : form.action;
    sending += 1;
    signedOut = false;
    return inTurn(() => htmx.ajax("POST", path, { values, target: "#main", select: "#main", swap: "outerHTML" })).then(() => {
      if (signedOut) return lost(form);
      settle();
      const bad = document.querySelector("#main .bad[role=alert]");
      const next = byId("undo") || byId("effect") || document.querySelector("h1");
      tell(bad ? bad.textContent : byId("undo-h") ? byId("undo-h").textContent : "Done.");
      if (next) { if (!next.hasAttribute("tabindex") && next.tabIndex < 0) next.tabIndex = -1; next.focus(); }
    }, () => trouble(form, "The server cannot be reached. Press again: however often it arrives, it counts once.")).finally(() => { sending -= 1; });
  }
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.hasAttribute("data-swap")) return;
    event.preventDefault();
    if (form.dataset.busy) return;
    form.dataset.busy = "1";
    const free = () => { delete form.dataset.busy; };
    if (form.dataset.by === "passkey" && window.PublicKeyCredential) {
      tell("Waiting for your passkey.");
      creto.signed(form).then((proof) => send(form, proof)).catch((error) => unsigned(form, error.message)).then(free);
    } else {
      const held = form.dataset.by === "hold" && form.dataset.held;
      delete form.dataset.held;
      send(form, held ? { confirmed: "yes" } : {}, event.submitter).then(free, free);
    }
  });
  function unsigned(form, text) {
    if (!form.hasAttribute("data-optional")) return trouble(form, text);
    form.dataset.by = "click"; // the server asks once more
    trouble(form, text + " Press again to go on without it.");
  }
  function trouble(form, text) {
    let line = form.querySelector(".bad");
    if (!line) {
      line = document.createElement("p");
      line.className = "bad";
      line.setAttribute("role", "alert");
      form.append(line);
    }
    line.textContent = text;
  }

  function hint(form) {
    const text = "Hold it down until it is filled.";
    tell(text);
    if (form.querySelector(".hint")) return;
    const line = document.createElement("p");
    line.className = "hint muted";
    line.setAttribute("aria-hidden", "true"); // it is told
    line.textContent = text;
    form.append(line);
  }

  // Held down, by finger or key. A click that no hand made (a screen reader's) is asked once more.
  function holds() {
    document.querySelectorAll('form[data-by="hold"] button[type=submit]').forEach((button) => {
      if (button.dataset.holds) return;
      button.dataset.holds = "1";
      let timer = 0;
      let pressed = false;
      const start = (event) => {
        if (event.type === "keydown" && (event.repeat || (event.key !== " " && event.key !== "Enter"))) {
          if (event.key === "Enter") event.preventDefault();
          return;
        }
        if (event.type === "keydown") event.preventDefault();
        pressed = true;
        button.classList.add("holding");
        timer = setTimeout(() => {
          stop();
          button.form.dataset.held = "1";
          button.form.requestSubmit();
        }, HOLD_MS);
      };
      const stop = () => {
        clearTimeout(timer);
        timer = 0;
        button.classList.remove("holding");
      };
      const early = () => { if (timer) { stop(); hint(button.form); } };
      button.addEventListener("pointerdown", start);
      button.addEventListener("keydown", start);
      ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"].forEach((name) => button.addEventListener(name, early));
      button.addEventListener("contextmenu", (event) => event.preventDefault());
      button.addEventListener("click", (event) => {
        if (pressed) event.preventDefault();
        pressed = false;
      });
    });
  }

  // Ready-made reasons.
  document.addEventListener("click", (event) => {
    const preset = event.target.closest(".presets button");
    if (preset) {
      const field = byId(preset.parentElement.dataset.fills);
      field.value = preset.textContent;
      field.focus();
    }
    const link = event.target.closest("a[href^='/approvals']");
    const plain = !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0;
    if (link && plain && !link.pathname.endsWith("/decision")) {
      event.preventDefault();
      goTo(link.pathname + link.search);
    }
    if (event.target.id === "help-open") byId("help").showModal();
  });

  // The keyboard. Shortcuts of one letter can be turned off (WCAG 2.1.4).
  const wanted = () => localStorage.getItem("creto-shortcuts") !== "off";
  document.addEventListener("change", (event) => {
    if (event.target.id === "shortcuts") localStorage.setItem("creto-shortcuts", event.target.checked ? "on" : "off");
    if (event.target.name === "id") samePolicy();
  });
  let walk = Promise.resolve(); // pressed twice, it goes two steps
  function move(step) {
    walk = walk.then(() => moveBy(step));
  }
  function moveBy(step) {
    const rows = [...document.querySelectorAll(".row a")];
    if (!rows.length) return undefined;
    const at = rows.findIndex((one) => one.getAttribute("aria-current") === "true");
    const next = rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + step))];
    return goTo(next.pathname + next.search).then(() => {
      const here = document.querySelector(".row.here");
      if (here) here.scrollIntoView({ block: "nearest" });
    });
  }
  function openAt(fold, field) {
    if (!byId(fold)) return;
    byId(fold).open = true;
    byId(field).focus();
  }
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    a: () => {
      const form = byId("approve-form");
      if (!form) return;
      if (form.dataset.by === "click") form.requestSubmit(byId("approve"));
      else byId("approve").focus();
    },
    r: () => openAt("deny", "reason"),
    e: () => openAt("edit", "arguments"),
    p: () => openAt("propose", "instead"),
    x: () => {
      const box = document.querySelector(".row.here input[name=id]");
      if (box && !box.disabled) { box.checked = !box.checked; samePolicy(); tell(box.checked ? "Ticked." : "Not ticked."); }
      else if (card()) tell(box ? "It is of another policy than what is ticked." : "It is decided by itself.");
    },
    "?": () => byId("help").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || byId("help").open) return;
    const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") {
      const open = event.target.closest("details[open]");
      if (open) { open.open = false; open.querySelector("summary").focus(); }
      else if (typing) event.target.blur();
      else if (card()) goTo("/approvals");
      return;
    }
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act && !typing && wanted()) { event.preventDefault(); act(); }
  });

  // Live: which request moved. What somebody is writing is never swapped away from under them.
  function writing() {
    const form = document.activeElement && document.activeElement.closest("#card form, #card details[open]");
    return Boolean(form) || [...document.querySelectorAll("#card details[open]")].length > 0;
  }
  async function compare() {
    const here = card();
    const answer = await fetch(location.href).catch(() => null); // it is down: it tells again once it is up
    if (!answer || !answer.ok) return;
    const now = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("article#card");
    if (!now || card() !== here || now.dataset.stands === here.dataset.stands) return;
    const outcome = now.querySelector(".outcome-line b");
    byId("changed-how").textContent = outcome ? outcome.textContent : "This request has changed.";
    byId("changed").hidden = false;
  }
  let later = 0;
  const news = new Set();
  function moved(request) {
    news.add(request);
    clearTimeout(later);
    later = setTimeout(() => {
      if (sending) return moved(request);
      const mine = card() && (news.has("") || news.has(card().dataset.request));
      news.clear();
      if (mine && !writing()) return swap("", "#main", false, true);
      if (mine) compare();
      if (!ticked().length) swap("", "#inbox", false);
    }, 80);
  }
  // Nor what somebody has begun meanwhile, or is pressing: swapped before the release it is not clicked.
  let pressing = false;
  let missed = false;
  const press = (event) => { if (event.type === "pointerdown" || event.key === " ") pressing = true; };
  const release = () => setTimeout(() => { // after the click
    pressing = false;
    if (missed) moved("");
    missed = false;
  });
  ["pointerdown", "keydown"].forEach((name) => addEventListener(name, press, true));
  ["pointerup", "pointercancel", "keyup", "blur"].forEach((name) => addEventListener(name, release));
  document.addEventListener("htmx:beforeSwap", (event) => {
    const begun = unasked && writing();
    if (!begun && !pressing || event.detail.requestConfig.verb !== "get") return;
    event.detail.shouldSwap = false;
    if (begun) compare();
    else missed = true;
  });
  let source = null;
  function listen() {
    if (source) source.close();
    if (!byId("inbox") || !byId("inbox").dataset.live) return;
    source = new EventSource(byId("inbox").dataset.live);
    source.addEventListener("moved", (event) => moved(event.data));
    source.addEventListener("open", () => moved("")); // what moved while nobody listened
  }
  addEventListener("pagehide", () => { if (source) source.close(); });
  listen();
  const help = byId("shortcuts");
  if (help) help.checked = wanted();
  settle();
})();
