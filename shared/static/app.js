// Keyboard, live fragments, copy, theme and times. Every page also works without this module.

const typing = (element) =>
  element?.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
const isShown = (element) => element.getClientRects().length > 0 && !element.disabled;

/* ---- keyboard ---- */

const items = () => [...document.querySelectorAll("[data-list] [data-item]")].filter(isShown);
const currentItem = () =>
  document.activeElement?.closest("[data-item]") ?? document.querySelector("[data-item][aria-current=true]");

function move(step) {
  const all = items();
  if (!all.length) return false;
  const at = all.indexOf(currentItem());
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
  for (const item of all) item.removeAttribute("aria-current");
  next.setAttribute("aria-current", "true");
  const target = next.querySelector("[data-open]") ?? next;
  if (target === next) next.tabIndex = -1;
  target.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  return true;
}

function keyed(key) {
  const selector = `[data-key="${CSS.escape(key)}"]`;
  const places = [currentItem(), document.querySelector("main"), document];
  for (const place of places) {
    const found = place && [...place.querySelectorAll(selector)].find(isShown);
    if (found) return found;
  }
  return null;
}

function press(element) {
  if (typing(element)) {
    element.focus();
    element.select?.();
    return;
  }
  element.click();
  // What a key has opened is where the next word goes: the reason of a rejection, an edited value.
  const opened = element.matches("summary")
    ? element.parentElement.open && element.parentElement
    : element.matches("input") && element.closest("fieldset");
  const field = opened && [...opened.querySelectorAll("input:not([type=radio]):not([type=hidden]), textarea, select")].find(isShown);
  if (field) field.focus();
}

function act(key) {
  if (key === "?") return openDialog("keys");
  // Where there is no list the page may use the keys itself: the next card.
  if ((key === "j" && move(1)) || (key === "k" && move(-1))) return true;
  if (key === "x") {
    const box = currentItem()?.querySelector("input[type=checkbox]");
    if (box) return box.click(), true;
  }
  if (key === "Enter") {
    if (document.activeElement !== document.body) return false;
    const open = currentItem()?.querySelector("[data-open]");
    return open ? (open.click(), true) : false;
  }
  const element = key.length === 1 ? keyed(key) : null;
  if (element) press(element);
  return Boolean(element);
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.repeat && !"jk".includes(event.key)) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    const form = document.activeElement?.closest("form") ?? document.activeElement?.form;
    const button = form && [...form.elements].find((one) => one.matches("button.primary, button.danger") && isShown(one));
    if (form) event.preventDefault(), form.requestSubmit(button ?? undefined);
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (act(event.key)) event.preventDefault();
});

/* ---- dialogs, menus, theme, copy ---- */

function openDialog(id) {
  const dialog = document.getElementById(id);
  if (dialog && !dialog.open) dialog.showModal();
  return Boolean(dialog);
}

function toggleTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("countersign-theme", root.dataset.theme);
  } catch {
    // See theme.js.
  }
}

async function copy(button) {
  const label = button.querySelector("span");
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    label.textContent = "Copied";
  } catch {
    label.textContent = selectText(button) ? "Press Ctrl C" : "Select and copy";
  }
  setTimeout(() => (label.textContent = before), 2000);
}

// Plain http on another machine has no clipboard; the text is then selected for the person.
function selectText(button) {
  const text = button.parentElement.querySelector("pre, code");
  if (text) getSelection().selectAllChildren(text);
  return Boolean(text);
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-copy], [data-dialog], [data-theme-toggle]");
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  if (event.target.matches("dialog")) event.target.close();
  if (!target) return;
  if ("copy" in target.dataset) copy(target);
  else if ("dialog" in target.dataset) openDialog(target.dataset.dialog);
  else toggleTheme();
});

document.addEventListener("keyup", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

/* ---- forms ---- */

// A second click sends no second decision. Coming back to the page makes its forms usable again.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "1";
  form.setAttribute("aria-busy", "true");
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.removeAttribute("aria-busy");
  }
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

// <form data-auto>: something to tell the server once the page, or a fragment, is shown.
function sendAutomatic(place) {
  for (const form of place.querySelectorAll("form[data-auto]:not([data-sent])")) {
    form.dataset.sent = "1";
    fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), keepalive: true }).catch(() => {});
  }
}

/* ---- live fragments ---- */

function replace(place, html) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const name = focused && ["id", "href", "name"].find((attribute) => focused.getAttribute(attribute));
  const selector = name && `[${name}="${CSS.escape(focused.getAttribute(name))}"]`;
  const marked = place.querySelector("[data-item][aria-current=true]")?.id;
  place.innerHTML = html;
  if (marked) document.getElementById(marked)?.setAttribute("aria-current", "true");
  if (selector) place.querySelector(selector)?.focus({ preventScroll: true });
  refreshTimes();
  sendAutomatic(place);
  countInTitle();
}

// A list does not move under the pointer or under typing: it offers what is new instead.
function isHeld(place) {
  return (place.querySelector("[data-list]") && place.matches(":hover")) || (typing(document.activeElement) && place.contains(document.activeElement));
}

function offer(place, html) {
  let button = place.querySelector(":scope > .fresh");
  if (!button) {
    button = document.createElement("button");
    button.type = "button";
    button.className = "fresh";
    button.textContent = "Show what is new";
    place.prepend(button);
  }
  button.onclick = () => replace(place, html);
}

function release(place) {
  for (const button of document.querySelectorAll("[data-needs]")) {
    if (!place.matches(button.dataset.needs)) continue;
    const isBlocked = place.querySelector("[data-blocks]") !== null;
    button.disabled = button.hidden = isBlocked;
    for (const other of document.querySelectorAll(`[data-instead="${button.dataset.needs}"]`)) other.hidden = !isBlocked;
  }
}

async function load(place, memory) {
  const answer = await fetch(place.dataset.poll, { headers: { Accept: "text/html" } });
  if (answer.redirected || answer.status === 401 || answer.status === 403) return false;
  if (answer.status !== 200) return true;
  const html = await answer.text();
  if (html === memory.html) return true;
  const isFirst = memory.html === undefined && place.dataset.every !== "0";
  memory.html = html;
  if (isFirst && place.innerHTML.replace(/\s+/g, " ").trim() === html.replace(/\s+/g, " ").trim()) return true;
  if (isHeld(place)) offer(place, html);
  else replace(place, html);
  return true;
}

async function poll(place) {
  const every = Number(place.dataset.every ?? 10) * 1000;
  const memory = {};
  // data-now: another process has what this page could not show.
  if (every && !("now" in place.dataset)) await new Promise((done) => setTimeout(done, every));
  for (let goesOn = true; goesOn && place.isConnected; ) {
    if (!document.hidden || !every) {
      try {
        goesOn = await load(place, memory);
      } catch {
        // The network is away; the page keeps what it shows and asks again.
      }
      release(place);
    }
    if (!every) return;
    await new Promise((done) => setTimeout(done, every));
  }
}

/* ---- times ---- */

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const steps = [["day", 86400], ["hour", 3600], ["minute", 60]];

function refreshTimes() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const seconds = (new Date(time.dateTime) - Date.now()) / 1000;
    const [unit, size] = steps.find(([, length]) => Math.abs(seconds) >= length) ?? ["minute", 60];
    time.textContent = Math.abs(seconds) < 45 ? "just now" : relative.format(Math.round(seconds / size), unit);
  }
}

const title = document.title.replace(/^\(\d+\) /, "");
function countInTitle() {
  const pending = Number(document.querySelector("[data-pending]")?.dataset.pending ?? 0);
  document.title = pending ? `(${pending}) ${title}` : title;
}

for (const button of document.querySelectorAll("[data-needs]")) {
  if (document.querySelector(button.dataset.needs)?.matches("[data-poll]")) button.disabled = true;
}
for (const place of document.querySelectorAll("[data-poll]")) poll(place);
sendAutomatic(document);
refreshTimes();
countInTitle();
setInterval(refreshTimes, 30_000);
