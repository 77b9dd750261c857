// What every page has: the theme, the help, and a memory that outlives a page. Runs before the page is drawn.
"use strict";

const report = (() => {
  const folder = new URL(document.currentScript.src).pathname.replace(/[^/]*$/, "");

  // Browsers may refuse storage to files; then nothing is remembered, and everything still works.
  function remember(store, name, value) {
    try { window[store].setItem(`s5 report ${name}`, JSON.stringify(value)); } catch { /* forgotten */ }
  }
  function recall(store, name) {
    try { return JSON.parse(window[store].getItem(`s5 report ${name}`)); } catch { return null; }
  }

  const THEMES = ["auto", "light", "dark"];
  let theme = recall("localStorage", "theme");
  if (!THEMES.includes(theme)) theme = "auto";
  function showTheme() {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${theme}`;
  }
  function nextTheme() {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remember("localStorage", "theme", theme);
    showTheme();
  }
  showTheme();

  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  // The page's own keys: {keys, meaning, run}; the first of keys may be shown, all are matched against event.key.
  function listen(bindings) {
    const all = [...bindings,
      { keys: ["t"], meaning: "change the theme", run: nextTheme },
      { keys: ["?"], meaning: "show these keys", run: () => help.showModal() }];
    const rows = all.filter(({ hidden }) => !hidden).map(({ keys, shown, meaning }) =>
      element("div", {}, element("dt", {}, element("kbd", { textContent: shown ?? keys.join(" ") })),
        element("dd", { textContent: meaning })));
    const close = element("button", { textContent: "Close", type: "button", onclick: () => help.close() });
    const help = element("dialog", { id: "help" }, element("h2", { textContent: "Keys" }),
      element("dl", {}, ...rows), close);
    document.body.append(help);
    document.getElementById("tools").append(
      element("button", { id: "theme", type: "button", title: "t", onclick: nextTheme }),
      element("button", { id: "keys", type: "button", title: "?", textContent: "Keys", onclick: () => help.showModal() }));
    showTheme();
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || help.open || isOwn(event)) return;
      const found = all.find(({ keys }) => keys.includes(event.key));
      if (found && found.run(event.key) !== false) event.preventDefault();
    });
  }

  // Keys that what is focused has a use for itself.
  function isOwn({ target, key }) {
    if (target.matches("input, select, textarea")) return true;
    if (target.matches("audio")) return key === " " || key.startsWith("Arrow");
    if (target.matches("button, summary")) return key === " " || key === "Enter";
    return target.matches(".scroll") && key.startsWith("Arrow");
  }

  return { folder, remember, recall, listen };
})();
