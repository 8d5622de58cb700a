"use strict";

// What the console's pages do beyond links and forms. Everything works without this file, except the live page.

(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);

  // --- Times: in the viewer's zone, with UTC in the title --------------------------------------------------------

  const zoneName = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const thisYear = new Date().getFullYear();
  const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const near = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", ...clock });
  const far = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", ...clock });

  // The same words as ago() of console/templatetags/console.py.
  function ago(when) {
    const passed = (Date.now() - when) / 1000;
    const seconds = Math.abs(passed);
    let text;
    if (seconds < 10) text = `${seconds < 1 ? 0 : Math.round(seconds)} s`;
    else if (seconds < 90) text = `${Math.round(seconds)} s`;
    else if (seconds < 5400) text = `${Math.round(seconds / 60)} min`;
    else if (seconds < 172800) text = `${Math.round(seconds / 3600)} h`;
    else text = `${Math.round(seconds / 86400)} d`;
    return passed >= 0 ? `${text} ago` : `in ${text}`;
  }

  function showTimes(root) {
    for (const element of all("time[data-style]", root)) {
      const when = new Date(element.dateTime);
      if (Number.isNaN(when.getTime())) continue;
      const style = element.dataset.style;
      const text = style === "ago" ? ago(when) : (when.getFullYear() === thisYear ? near : far).format(when);
      if (element.textContent !== text) element.textContent = text;
      if (style === "both") element.dataset.ago = ago(when);
    }
  }

  // A field for a time is UTC on the server and local here.
  const pad = (number) => String(number).padStart(2, "0");
  const asLocal = (date) =>
    `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}T` +
    `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;

  const asUtc = (date) => date.toISOString().replace(".000Z", "Z");

  // The hour that the end of summer time repeats has the same local time twice: what nobody changed is not read from it.
  const chosen = (field) =>
    field.value === field.dataset.shown ? field.dataset.utc : asUtc(new Date(field.value));

  function localizeTimes(form) {
    const fields = all("input[data-utc]", form);
    const range = one("#range", form);
    for (const field of fields) {
      if (field.value) {
        field.dataset.utc = asUtc(new Date(`${field.value}Z`));
        field.value = asLocal(new Date(field.dataset.utc));
        field.dataset.shown = field.value;
      }
      field.addEventListener("change", () => {
        if (field.value && range) range.value = "";
      });
    }
    for (const zone of all(".zone", form)) zone.textContent = `(${zoneName})`;
    range?.addEventListener("change", (event) => {
      if (event.target.value) for (const field of fields) field.value = "";
    });
    form.addEventListener("formdata", (event) => {
      const isSearch = "filters" in form.dataset;
      for (const [name, value] of [...event.formData]) {
        const field = form.elements[name];
        if (!value && isSearch) event.formData.delete(name);
        else if (value && field && field.dataset && "utc" in field.dataset) event.formData.set(name, chosen(field));
      }
    });
  }

  // Whoever has chosen no zone is offered the browser's.
  function offerZone() {
    for (const field of all("select[data-own-zone]")) {
      if ([...field.options].some((option) => option.value === zoneName)) field.value = zoneName;
    }
  }

  // A choice with fields of its own: those of the others are put away. Without this file all are shown.
  function showChosen(select) {
    for (const field of all("[data-only]", select.form)) {
      (field.closest(".field") ?? field).hidden = field.dataset.only !== select.value;
    }
  }

  // --- Copying and folding ------------------------------------------------------------------------------------------

  async function copy(button) {
    const label = button.dataset.label ?? (button.dataset.label = button.textContent);
    try {
      const text = button.dataset.copyUrl
        ? await (await fetch(button.dataset.copyUrl)).text()
        : one(button.dataset.copy).textContent;
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Could not copy";
    }
    setTimeout(() => (button.textContent = label), 2000);
  }

  function unfold(button) {
    const parts = all("details", one(button.dataset.unfold));
    const open = parts.some((part) => !part.open);
    for (const part of parts) part.open = open;
    button.textContent = open ? "Collapse all" : "Expand all";
  }

  // --- Keyboard ---------------------------------------------------------------------------------------------------

  function moveRow(step) {
    const rows = all("[data-row]").filter((row) => row.offsetParent !== null);
    if (!rows.length) return;
    const here = rows.indexOf(document.activeElement);
    const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, here + step));
    rows[next].focus();
    rows[next].scrollIntoView({ block: "nearest" });
  }

  // Where one was before the search, for Escape.
  let before = null;

  function search() {
    const field = one("#find");
    before = document.activeElement;
    field?.focus();
    field?.select();
  }

  const keys = {
    j: () => moveRow(1),
    k: () => moveRow(-1),
    "/": search,
    "?": () => one("#help").showModal(),
    p: () => one("[data-live-pause]")?.click(),
  };

  // Back leads to the row that one came from, also when the browser asks for the page anew.
  const rowKey = `row:${location.pathname}${location.search}`;

  document.addEventListener("click", (event) => {
    const row = event.target.closest("[data-row]");
    if (row) sessionStorage.setItem(rowKey, row.getAttribute("href"));
  });

  function returnToRow() {
    if (performance.getEntriesByType("navigation")[0]?.type !== "back_forward") return;
    const href = sessionStorage.getItem(rowKey);
    const row = all("[data-row]").find((each) => each.getAttribute("href") === href);
    row?.focus();
    row?.scrollIntoView({ block: "nearest" });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]")) return;
    if (event.key === "Escape") {
      const open = one("details.menu[open]");
      for (const menu of all("details.menu[open]")) menu.open = false;
      if (open?.contains(document.activeElement)) one("summary", open).focus();
      else if (event.target.matches("input")) {
        event.target.blur();
        if (event.target.id === "find") before?.focus();
      }
      return;
    }
    if (event.target.matches("input, select, textarea, [contenteditable]")) return;
    const action = keys[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });

  document.addEventListener("click", (event) => {
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.copy || button.dataset.copyUrl) copy(button);
    else if (button.dataset.unfold) unfold(button);
    else if ("help" in button.dataset) one("#help").showModal();
  });

  // --- Live -------------------------------------------------------------------------------------------------------

  const MOST_ROWS = 500;
  // More than come in the seconds that messages overlap, as each has at most a hundred.
  const MOST_REMEMBERED = 20_000;
  const AGAIN_MS = 5_000;

  function startLive(rows) {
    const pause = one("[data-live-pause]");
    const held = one("[data-live-held]");
    const state = one("[data-live-state]");
    const holding = one("#live-holding");
    const seen = new Set(all("tr[data-id]", rows).map((row) => row.dataset.id));
    let paused = false;
    let failed = false;

    const tell = () => {
      const text = paused ? "Paused" : failed ? "No connection, trying again" : "Watching";
      if (state.textContent !== text) state.textContent = text;
      state.dataset.state = paused ? "paused" : failed ? "failed" : "on";
      pause.textContent = paused ? "Resume" : "Pause";
      const waiting = all("tr[data-id]", holding).length;
      held.hidden = waiting === 0;
      held.textContent = `${waiting} new event${waiting === 1 ? "" : "s"}`;
    };
    const keepFew = (body) => all("tr", body).slice(MOST_ROWS).forEach((row) => row.remove());
    const show = () => {
      rows.prepend(...holding.children);
      keepFew(rows);
      tell();
    };

    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      if (!paused) show();
      tell();
    });
    held.addEventListener("click", show);
    // Each message holds the last seconds again. What is there already only renews its status; a message without any
    // of it has a gap before it, so only then is its line about skipped events true.
    const take = (html) => {
      const came = document.createElement("template");
      came.innerHTML = html;
      let known = 0;
      const renew = (id, row) => {
        const shown = one(`tr[data-id="${id}"] .status`);
        const status = one(".status", row);
        if (shown && shown.textContent !== status.textContent) shown.replaceWith(document.importNode(status, true));
        row.remove();
      };
      for (const row of all("tr[data-renews]", came.content)) renew(row.dataset.renews, row);
      for (const row of all("tr[data-id]", came.content)) {
        if (!seen.has(row.dataset.id)) {
          seen.add(row.dataset.id);
          continue;
        }
        known += 1;
        renew(row.dataset.id, row);
      }
      if (known) one(".skipped", came.content)?.remove();
      const rejected = one("template", came.content);
      if (rejected) one("#live-rejected").replaceWith(document.importNode(rejected.content, true));
      const body = paused ? holding : rows;
      body.prepend(...all("tr", came.content));
      keepFew(body);
      showTimes(document);
      if (seen.size > MOST_REMEMBERED) {
        seen.clear();
        for (const row of all("tr[data-id]")) seen.add(row.dataset.id);
      }
    };

    let cursor = rows.dataset.cursor;
    let stream = null;
    let errors = 0;
    const open = () => {
      stream = new EventSource(`${rows.dataset.stream}&cursor=${cursor}`);
      stream.onmessage = (message) => {
        cursor = message.lastEventId;
        errors = 0;
        failed = false;
        take(message.data);
        tell();
      };
      // Streams end after a while, and the browser asks again by itself, unless the answer was no stream.
      stream.onerror = () => {
        errors += 1;
        failed = errors > 1;
        tell();
        if (stream?.readyState === EventSource.CLOSED) askWhy(stream);
      };
    };
    // A page that may not be seen any more leads to its own answer: the sign-in, or that there is nothing.
    const askWhy = async (ended) => {
      const answer = await fetch(location.href, { method: "HEAD" }).catch(() => null);
      if (answer && (answer.redirected || (answer.status >= 400 && answer.status < 500))) location.reload();
      else setTimeout(() => stream === ended && open(), AGAIN_MS);
    };
    // A tab that nobody sees holds no stream: browsers allow six to a host.
    document.addEventListener("visibilitychange", () => {
      stream?.close();
      stream = null;
      if (document.visibilityState === "visible") open();
    });
    open();
    tell();
  }

  // --- Start ------------------------------------------------------------------------------------------------------

  for (const button of all("button[data-copy], button[data-copy-url], button[data-unfold], button[data-help]")) {
    button.hidden = false;
  }
  for (const form of new Set(all("input[data-utc]").map((field) => field.form))) localizeTimes(form);
  offerZone();
  for (const select of all("select[data-shows]")) {
    showChosen(select);
    select.addEventListener("change", () => showChosen(select));
  }
  for (const note of all("[data-zone-note]")) note.textContent = `Times are in your time zone, ${zoneName}.`;
  showTimes(document);
  returnToRow();
  setInterval(() => showTimes(document), 10_000);
  // What was unfolded stays so when a part of the page is renewed.
  let unfolded = [];
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    unfolded = all("details[id][open]", event.detail.target).map((part) => part.id);
  });
  document.body.addEventListener("htmx:afterSettle", () => {
    for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
  });
  document.body.addEventListener("htmx:load", (event) => showTimes(event.detail.elt.parentElement ?? document));
  one(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  const liveRows = one("#live-rows");
  if (liveRows) startLive(liveRows);
})();
