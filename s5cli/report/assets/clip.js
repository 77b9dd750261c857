// A clip: one sound at a time, switched without losing the place, and the way to the neighbouring clips.
"use strict";

(() => {
  const walk = document.querySelector(".walk");
  const key = walk.dataset.key;
  const cards = [...document.querySelectorAll(".track[data-track]")].sort((a, b) => a.dataset.track - b.dataset.track);
  const players = cards.map((card) => card.querySelector("audio")).filter(Boolean);
  let current = players[0];

  // --- the sounds

  function choose(player) {
    current = player;
    for (const card of cards) card.classList.toggle("current", card.contains(player));
  }

  function toggle() {
    if (!current) return;
    if (current.paused) current.play().catch(() => {});
    else current.pause();
  }

  // Another sound from the same moment on, playing if one was: that is how stem and reference are compared.
  function change(card) {
    const player = card?.querySelector("audio");
    if (!player || player === current) return toggle();
    const playing = current && !current.paused;
    const moment = current ? current.currentTime : 0;
    current?.pause();
    choose(player);
    player.currentTime = moment;
    if (playing) player.play().catch(() => {});
    card.scrollIntoView({ block: "nearest" });
  }

  function show(player) {
    const share = player.duration ? player.currentTime / player.duration : 0;
    const card = player.closest(".track");
    card.style.setProperty("--moment", `${100 * share}%`);
    card.classList.toggle("started", player.currentTime > 0 || !player.paused);
    if (!player.paused) requestAnimationFrame(() => show(player));
  }

  for (const player of players) {
    player.addEventListener("play", () => {
      for (const other of players) if (other !== player) other.pause();
      choose(player);
      show(player);
    });
    player.addEventListener("seeking", () => show(player));
    player.addEventListener("ended", () => show(player));
    const screen = player.closest(".track").querySelector(".screen");
    screen.addEventListener("click", (event) => {
      const frame = screen.getBoundingClientRect();
      const seek = () => { player.currentTime = player.duration * (event.clientX - frame.left) / frame.width; };
      choose(player);
      if (player.readyState > 0) seek();
      else { player.addEventListener("loadedmetadata", seek, { once: true }); player.load(); }
    });
  }
  if (current) choose(current);

  // --- the neighbours: those of the list as it was sorted and filtered last, else by name

  const order = report.recall("sessionStorage", `order ${report.folder}`) ?? [];
  const at = order.indexOf(key);
  report.remember("sessionStorage", `last ${report.folder}`, key);
  if (at >= 0) {
    lead("previous", order[at - 1]);
    lead("next", order[at + 1]);
    walk.querySelector(".numbers").textContent = `${at + 1} of ${order.length} in the list`;
  }

  function lead(id, neighbour) {
    const link = document.getElementById(id);
    if (neighbour === undefined) {
      link.removeAttribute("href");
      link.setAttribute("aria-disabled", "true");
    } else {
      link.href = `../${encodeURIComponent(neighbour)}/index.html`;
      link.removeAttribute("aria-disabled");
    }
  }
  const follow = (id) => () => document.getElementById(id).click();

  report.listen([
    { keys: [" "], shown: "Space", meaning: "play or pause", run: toggle },
    { keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"], shown: "1 … 9", meaning: "switch to that sound, at the same moment",
      run: (number) => change(cards[number - 1]) },
    { keys: ["j", "ArrowRight"], shown: "j  →", meaning: "next clip", run: follow("next") },
    { keys: ["k", "ArrowLeft"], shown: "k  ←", meaning: "previous clip", run: follow("previous") },
    { keys: ["u", "Escape"], shown: "u  Esc", meaning: "all clips", run: follow("up") },
  ]);
})();
