"use strict";
// Draws the table of tags. All text of the data goes through `textContent`, so none of it can become HTML.
(() => {
  const PAGE = 20, FIRST = 5, MORE = 20, SHOWN_PARTS = 8;
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const count = (number) => number.toLocaleString("en");
  const plain = (text) => text.normalize("NFKC").toLowerCase();
  const share = (some, all) => (all ? `${(100 * some / all).toFixed(1)}%` : "–");

  function make(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }

  const lowered = data.tags.map(plain);
  const partsOf = data.in.map((pairs) => pairs.length / 2);
  const examplesOf = data.tags.map(() => []);
  data.examples.forEach(([, , , codes], place) => codes.forEach((code) => code >= 0 && examplesOf[code].push(place)));
  const byName = new Map(data.tags.map((name, code) => [name, code]).reverse());
  const everything = data.tags.map((_, code) => code);
  const state = { words: [], part: -1, by: "rows", down: true, page: 0, open: -1, here: null, found: everything };

  // ---- the table ----

  let alphabet = null;
  function placeInAlphabet() {
    if (alphabet === null) {
      const collator = new Intl.Collator("en");
      alphabet = new Uint32Array(data.tags.length);
      [...everything].sort((one, other) => collator.compare(data.tags[one], data.tags[other]))
        .forEach((code, place) => { alphabet[code] = place; });
    }
    return alphabet;
  }

  function find() {
    const { words, here, by, down } = state;
    const found = everything.filter((code) => (here === null || here[code]) && words.every((word) => lowered[code].includes(word)));
    const key = { name: by === "name" ? placeInAlphabet() : null, rows: data.rows, parts: partsOf, here: here }[by];
    const sign = down ? -1 : 1;
    state.found = found.sort((one, other) => sign * (key[one] - key[other]) || one - other);
    state.page = 0;
    drawTable();
  }

  function tagButton(code) {
    if (code < 0) return make("span", { className: "note", textContent: "(a rarer tag)" });
    const name = data.tags[code];
    const button = make("button", { type: "button", className: "tag", textContent: name });
    if (!name.trim()) Object.assign(button, { textContent: "(blank)", className: "tag blank" });
    button.dataset.tag = code;
    return button;
  }

  function bar(part) {
    const inner = make("span");
    inner.style.width = `${100 * part}%`;
    const outer = make("span", { className: "bar" }, inner);
    outer.setAttribute("aria-hidden", "true");
    return outer;
  }

  function drawTable() {
    const begin = state.page * PAGE;
    const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
    const rows = state.found.slice(begin, begin + PAGE).map((code) => {
      const row = make("tr", { className: code === state.open ? "open" : "" }, make("td", {}, tagButton(code)));
      if (state.here !== null) row.append(make("td", { textContent: count(state.here[code]) }));
      row.append(make("td", { textContent: count(data.rows[code]) }));
      row.append(make("td", { className: "share", textContent: share(data.rows[code], data.fine) }));
      if (data.counted) row.append(make("td", { textContent: count(partsOf[code]) }));
      return row;
    });
    $("table").tBodies[0].replaceChildren(...rows);
    $("status").textContent = `${count(state.found.length)} of ${count(data.tags.length)} tags`;
    $("place").textContent = `${count(state.page + 1)} / ${count(pages)}`;
    $("previous").disabled = state.page === 0;
    $("next").disabled = state.page >= pages - 1;
    for (const head of $("table").querySelectorAll("th[data-by]")) {
      head.setAttribute("aria-sort", head.dataset.by !== state.by ? "none" : state.down ? "descending" : "ascending");
    }
  }

  function choosePart(part) {
    state.part = part;
    state.here = null;
    if (part >= 0) {
      state.here = new Uint32Array(data.tags.length);
      data.in.forEach((pairs, code) => {
        for (let at = 0; at < pairs.length; at += 2) if (pairs[at] === part) state.here[code] = pairs[at + 1];
      });
    }
    $("part").value = String(part);
    $("table").querySelector("[data-by=here]").hidden = part < 0;
    Object.assign(state, { by: part < 0 ? "rows" : "here", down: true });
    find();
  }

  // ---- the open tag ----

  function bars(entries, title) {
    const list = make("ol", { className: "bars" });
    for (const { name, part, told } of entries) {
      list.append(make("li", {}, make("span", { className: "name" }, name), bar(part), make("span", { className: "count", textContent: told })));
    }
    return [make("h4", { textContent: title }), list];
  }

  function neighbours(code) {
    const entries = [];
    for (let at = 0; at < data.near[code].length; at += 2) {
      const [other, shared] = data.near[code].slice(at, at + 2);
      const part = shared / data.rows[code];
      entries.push({ name: tagButton(other), part, told: `${count(shared)} · ${share(shared, data.rows[code])}` });
    }
    return entries.length ? bars(entries, "Neighbours: tags in the same rows") : [];
  }

  function parts(code) {
    const pairs = [];
    for (let at = 0; at < data.in[code].length; at += 2) pairs.push(data.in[code].slice(at, at + 2));
    if (!pairs.length) return [];
    pairs.sort((one, other) => other[1] - one[1]);
    const entries = pairs.slice(0, SHOWN_PARTS).map(([part, rows]) => ({
      name: make("bdi", { textContent: data.parts[part] }),
      part: rows / data.sizes[part],
      told: `${count(rows)} · ${share(rows, data.sizes[part])}`,
    }));
    const left = pairs.length - entries.length;
    return bars(entries, `Where: rows, and their share there${left > 0 ? ` (the first ${SHOWN_PARTS} of ${pairs.length})` : ""}`);
  }

  function example(place, code) {
    const [part, queries, texts, codes] = data.examples[place];
    const item = make("li");
    const where = [part >= 0 ? data.parts[part] : "", queries > 1 ? `${count(texts.length)} of ${count(queries)} queries of this row` : ""];
    if (where.some(Boolean)) item.append(make("p", { className: "note", textContent: where.filter(Boolean).join(" · "), dir: "auto" }));
    for (const text of texts) item.append(make("p", { className: "query", textContent: data.texts[text], dir: "auto" }));
    const chips = make("div", { className: "chips" }, ...codes.map(tagButton));
    for (const chip of chips.children) if (chip.dataset.tag === String(code)) chip.setAttribute("aria-current", "true");
    item.append(chips);
    return item;
  }

  function examples(code) {
    const mine = examplesOf[code];
    const places = state.part < 0 ? mine : [...mine].sort((one, other) => (data.examples[other][0] === state.part) - (data.examples[one][0] === state.part));
    const list = make("ul", { className: "examples" });
    const more = make("button", { type: "button", className: "more" });
    function add(number) {
      const at = list.children.length;
      list.append(...places.slice(at, at + number).map((place) => example(place, code)));
      const left = places.length - list.children.length;
      more.hidden = !left;
      more.textContent = `Show more (${count(left)} left)`;
      return list.children[at];
    }
    more.onclick = () => add(MORE).querySelector("button").focus();
    add(FIRST);
    const head = make("h4", { textContent: "Example queries" });
    return places.length ? [head, list, more] : [head, make("p", { className: "note", textContent: "This page holds no example of this tag." })];
  }

  function open(code) {
    state.open = code;
    const head = make("h3", { tabIndex: -1, dir: "auto", textContent: data.tags[code].trim() ? data.tags[code] : "(blank)" });
    const back = make("button", { type: "button", textContent: "Back to the list", onclick: close });
    const told = `in ${count(data.rows[code])} rows, ${share(data.rows[code], data.fine)} of all`;
    $("detail").replaceChildren(back, head, make("p", { className: "note", textContent: told }), ...neighbours(code), ...examples(code), ...parts(code));
    drawTable();
    head.focus({ preventScroll: true });
    const { top } = $("detail").getBoundingClientRect();
    if (top < 0 || top > window.innerHeight / 2) $("detail").scrollIntoView();
  }

  function close() {
    const button = $("table").querySelector(`[data-tag="${state.open}"]`);
    (button || $("search")).focus();
  }

  function address() {
    let name = null;
    try {
      if (location.hash.startsWith("#tag=")) name = decodeURIComponent(location.hash.slice(5));
    } catch {
      return; // an address that somebody wrote by hand
    }
    if (byName.has(name) && data.tags[state.open] !== name) open(byName.get(name));
  }

  function go(code) {
    open(code);
    location.hash = `tag=${encodeURIComponent(data.tags[code])}`;
  }

  // ---- tables that are there without us ----

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", textContent: head.textContent });
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.onclick = () => {
        const now = head.getAttribute("aria-sort");
        const down = now === "none" ? column > 0 : now === "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = ({ cells }) => (column ? Number(cells[column].dataset.value || -Infinity) : cells[0].textContent);
        const order = (one, other) => (column ? one - other || 0 : one.localeCompare(other, "en"));
        const rows = [...table.tBodies[0].rows].sort((one, other) => (down ? -1 : 1) * order(key(one), key(other)));
        table.tBodies[0].append(...rows);
      };
    });
    for (const row of table.tBodies[0].rows) {
      const part = Number(row.dataset.part);
      if (part >= data.counted) continue;
      const link = make("button", { type: "button", className: "link", title: "Show its tags" }, ...row.cells[0].childNodes);
      link.onclick = () => { choosePart(part); $("tags").scrollIntoView(); $("search").focus({ preventScroll: true }); };
      row.cells[0].replaceChildren(link);
    }
  }

  // ---- what people do ----

  function best() {
    const typed = plain($("search").value).trim();
    return state.found.find((code) => lowered[code].trim() === typed) ?? state.found[0];
  }

  function step(button, by) {
    const buttons = [...$("table").querySelectorAll("td .tag")];
    const next = buttons[buttons.indexOf(button) + by];
    (next || (by < 0 ? $("search") : button)).focus();
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest?.("[data-tag]");
    if (button) go(Number(button.dataset.tag));
  });
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = target.matches?.("input, select");
    if (key === "/" && !typing) $("search").focus();
    else if (key === "Escape" && $("detail").contains(target)) close();
    else if (key === "ArrowDown" && target === $("search")) step(null, 1);
    else if (key === "Enter" && target === $("search") && state.found.length) go(best());
    else if (key === "ArrowDown" && target.matches?.("td > .tag")) step(target, 1);
    else if (key === "ArrowUp" && target.matches?.("td > .tag")) step(target, -1);
    else return;
    event.preventDefault();
  });
  $("search").addEventListener("input", () => {
    state.words = plain($("search").value).split(/\s+/).filter(Boolean);
    find();
  });
  $("part").addEventListener("change", () => choosePart(Number($("part").value)));
  $("previous").onclick = () => { state.page -= 1; drawTable(); };
  $("next").onclick = () => { state.page += 1; drawTable(); };
  for (const head of $("table").querySelectorAll("th[data-by]")) {
    const by = head.dataset.by;
    head.firstElementChild.onclick = () => { Object.assign(state, { down: state.by === by ? !state.down : by !== "name", by }); find(); };
  }
  addEventListener("hashchange", address);

  $("part-label").hidden = $("table").querySelector("[data-by=parts]").hidden = !data.counted;
  const choices = data.parts.slice(0, data.counted).map((name, part) => make("option", { value: String(part), textContent: name }));
  $("part").replaceChildren(make("option", { value: "-1", textContent: "all" }), ...choices);
  document.querySelectorAll("table.sortable").forEach(sortable);
  $("explorer").hidden = false;
  drawTable();
  address();
})();
