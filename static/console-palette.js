"use strict";

// The palette: every page, every organization and the search from the keyboard (Ctrl-K, Cmd-K).

(() => {
  const dialog = document.querySelector("#palette");
  const field = document.querySelector("#palette-field");
  const list = document.querySelector("#palette-list");
  if (!dialog) return;
  const box = document.querySelector(".find");
  const pages = [...list.children];
  const opener = document.querySelector("[data-palette]");
  let organizations = [];
  let chosen = 0;
  let asked = 0;

  function option(label, url) {
    const item = document.createElement("li");
    item.setAttribute("role", "option");
    item.dataset.url = url;
    item.textContent = label;
    return item;
  }

  function choose(number) {
    const items = [...list.children];
    chosen = items.length ? (number + items.length) % items.length : 0;
    items.forEach((item, place) => {
      item.id = `palette-${place}`;
      item.setAttribute("aria-selected", String(place === chosen));
    });
    field.setAttribute("aria-activedescendant", items.length ? `palette-${chosen}` : "");
    items[chosen]?.scrollIntoView({ block: "nearest" });
  }

  function show() {
    const text = field.value.trim();
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = pages.filter((page) => words.every((word) => page.textContent.toLowerCase().includes(word)));
    const begins = (page) => page.textContent.trim().toLowerCase().startsWith(words[0] ?? "");
    found.sort((one, other) => begins(other) - begins(one));
    const search = text ? [option(`Search for “${text}”`, `${box.action}?q=${encodeURIComponent(text)}`)] : [];
    list.replaceChildren(...found, ...(text ? organizations : []), ...search);
    choose(0);
  }

  async function ask() {
    const turn = (asked += 1);
    const text = field.value.trim();
    organizations = [];
    show();
    if (!text) return;
    await new Promise((done) => setTimeout(done, 150));
    if (turn !== asked) return;
    const answer = await fetch(`${field.dataset.organizations}?q=${encodeURIComponent(text)}`).catch(() => null);
    if (turn !== asked || !answer?.ok || answer.redirected) return;
    const came = document.createElement("template");
    came.innerHTML = await answer.text();
    if (turn !== asked) return;
    const links = [...came.content.querySelectorAll("a")];
    organizations = links.map((link) => option(`Organization: ${link.textContent.trim()}`, link.getAttribute("href")));
    show();
  }

  function open() {
    if (document.querySelector("dialog[open]")) return;
    for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
    field.value = "";
    organizations = [];
    show();
    dialog.showModal();
    field.focus();
  }

  const go = (item) => item && location.assign(item.dataset.url);

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (dialog.open) dialog.close();
      else open();
    }
  });
  field.addEventListener("input", ask);
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen - 1);
    else if (event.key === "Enter") go(list.children[chosen]);
    else return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => go(event.target.closest("[data-url]")));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  if (opener) {
    opener.hidden = false;
    opener.addEventListener("click", open);
  }
})();
