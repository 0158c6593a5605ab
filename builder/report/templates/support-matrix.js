"use strict";
(() => {
const $ = id => document.getElementById(id);
const make = (tag, text, more) => Object.assign(document.createElement(tag), text == null ? {} : { textContent: text }, more);
const data = JSON.parse($("data").textContent);
const STREAM = ["name", "branch", "flavor", "dkms", "default", "drivers", "install", "switch", "why"];
for (const p of data.publications) {
  const all = p.streams.map(row => Object.fromEntries(STREAM.map((name, n) => [name, row[n]])));
  p.streams = all.filter(s => s.drivers.length);
  p.held = all.filter(s => !s.drivers.length);
}
const GENERATIONS = ["fermi", "kepler", "maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper", "grace-hopper", "blackwell"];
const title = word => word.charAt(0).toUpperCase() + word.slice(1);
const older = (a, b) => { // numbers joined by dots
  const x = a.split("."), y = b.split(".");
  for (let n = 0; n < Math.max(x.length, y.length); n++) { const d = (x[n] || 0) - (y[n] || 0); if (d) return d; }
  return 0;
};
const rank = name => (GENERATIONS.indexOf(name) + 1) || 99;
const today = new Date();
const now = today.getFullYear() + "-" + String(today.getMonth() + 1).padStart(2, "0");
const ended = eol => !!eol && (eol.length === 4 ? eol + "-12" : eol) < now;
const STATES = { p: "offered", f: "failed", h: "held back or blocked", x: "excluded" };

// ---- the table, read once -------------------------------------------------------------------------------------------
const table = document.querySelector("#grid table");
const columns = [...table.tHead.rows[1].cells].map(th => ({ branch: th.dataset.b, flavor: th.dataset.f, th }));
const groups = [...table.tHead.rows[0].cells].slice(1);
const reason = number => { const item = $("w" + number); return item ? item.textContent : ""; };
const read = (b, td) => {
  const facts = b.nextElementSibling && b.nextElementSibling.tagName === "I" ? b.nextElementSibling : null;
  const links = facts ? [...facts.querySelectorAll("a")] : [];
  const note = links.find(a => a.hash && a.textContent !== "no log"), none = links.find(a => a.textContent === "no log");
  const word = b.nextSibling && b.nextSibling.nodeType === 3 ? b.nextSibling.textContent.trim() : "";
  return { b, td, word, driver: b.textContent, state: STATES[b.parentNode.className || td.className],
    facts: facts && facts.firstChild.nodeType === 3 ? facts.firstChild.textContent.trim() : "", log: links.find(a => a.textContent === "log"),
    why: note ? reason(note.hash.slice(2)) : "", noLog: none ? reason(none.hash.slice(2)) : "" };
};
const bodies = [...table.tBodies].map((body, n) => ({ body, p: data.publications[n],
  rows: [...body.rows].slice(1).map(row => ({ row, release: row.cells[0].querySelector("code").textContent,
    fields: [...row.cells].slice(1).map(td => [...td.querySelectorAll("b")].map(b => read(b, td))) })) }));

// ---- theme ----------------------------------------------------------------------------------------------------------
const THEMES = ["system", "light", "dark"];
const keep = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
  set: value => { try { localStorage.setItem("theme", value); } catch { /* private window */ } } };
const show = theme => {
  if (theme === "system") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme;
  $("theme").textContent = "Theme: " + (theme === "system" ? "as the system" : theme);
  $("theme").dataset.is = theme;
};
show(THEMES.includes(keep.get()) ? keep.get() : "system");
$("theme").hidden = false;
$("theme").onclick = () => { const next = THEMES[(THEMES.indexOf($("theme").dataset.is) + 1) % 3]; keep.set(next); show(next); };

// ---- filters and the address ----------------------------------------------------------------------------------------
const option = (value, text) => make("option", text, { value });
const fill = (select, first, values) => select.append(option("", first), ...values.map(v => Array.isArray(v) ? option(...v) : option(v, v)));
const unique = values => [...new Set(values)];
const generations = unique(Object.values(data.branches).flatMap(b => b.gpus)).sort((a, b) => rank(a) - rank(b));
fill($("by-d"), "all", unique(data.publications.map(p => p.d)).map(d => [d, data.publications.find(p => p.d === d).title]));
fill($("by-a"), "all", unique(data.publications.map(p => p.a)).sort());
fill($("by-g"), "any", generations.map(g => [g, title(g)]));
fill($("pick-gpu"), "any", generations.map(g => [g, title(g)]));
fill($("pick-cuda"), "any", unique(Object.values(data.branches).map(b => b.cuda).filter(Boolean)).sort((a, b) => older(b, a)));
for (const { p, rows } of bodies) {
  const group = make("optgroup", null, { label: p.title + ", " + p.a }), at = p.d + "/" + p.a + "/";
  group.append(option(at, `${p.d} ${p.a}: any of its kernels`), ...rows.map(r => option(at + r.release, r.release)), option(at + "*", `${p.d} ${p.a}: a kernel of my own`));
  $("pick-kernel").append(group);
}
const FIELDS = { d: "by-d", a: "by-a", g: "by-g", s: "by-s", k: "by-k", gpu: "pick-gpu", cuda: "pick-cuda", on: "pick-kernel" };
const save = () => {
  const state = new URLSearchParams();
  for (const [name, id] of Object.entries(FIELDS)) {
    const first = $(id).options ? $(id).options[0].value : "";
    if ($(id).value !== first) state.set(name, $(id).value);
  }
  const text = state.toString();
  history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
};
const load = () => {
  if (location.hash && !location.hash.includes("=")) return; // an anchor of the page
  const state = new URLSearchParams(location.hash.slice(1));
  for (const [name, id] of Object.entries(FIELDS)) {
    const first = $(id).options ? $(id).options[0].value : "", value = state.get(name) || first;
    $(id).value = $(id).options && ![...$(id).options].some(o => o.value === value) ? first : value;
  }
  filter();
  pick();
};
function filter() {
  const d = $("by-d").value, a = $("by-a").value, g = $("by-g").value, s = $("by-s").value, k = $("by-k").value.trim().toLowerCase();
  const shown = columns.map(c => !g || data.branches[c.branch][c.flavor].includes(g));
  columns.forEach((c, n) => { c.th.hidden = !shown[n]; });
  for (const th of groups) {
    const n = columns.filter((c, i) => c.branch === th.dataset.b && shown[i]).length;
    th.hidden = !n;
    if (n) th.colSpan = n;
  }
  let seen = 0, all = 0;
  for (const { body, p, rows } of bodies) {
    let some = 0;
    const here = (!d || p.d === d) && (!a || p.a === a);
    for (const { row, release, fields } of rows) {
      all++;
      const states = fields.flatMap((field, n) => shown[n] ? field.map(c => c.state) : []);
      const fits = !s || (s === "offered" ? states.includes("offered") : states.includes("failed") || states.includes("held back or blocked"));
      row.hidden = !(here && fits && (!k || release.toLowerCase().includes(k)));
      if (row.hidden) continue;
      some++;
      fields.forEach((_, n) => { row.cells[n + 1].hidden = !shown[n]; });
    }
    body.hidden = !some;
    body.rows[0].cells[0].colSpan = shown.filter(Boolean).length + 1;
    seen += some;
  }
  const drivers = shown.filter(Boolean).length;
  $("found").hidden = seen === all && drivers === columns.length;
  $("found").textContent = `${seen} of ${all} kernels, ${drivers} of ${columns.length} kinds of modules`
    + (seen ? "" : ": nothing fits all of these filters; clear one");
  rove();
}
$("tools").hidden = false;
$("tools").addEventListener("input", () => { filter(); save(); });
$("tools").addEventListener("reset", () => setTimeout(() => { filter(); save(); }));
$("tools").addEventListener("submit", event => event.preventDefault());
addEventListener("hashchange", load);

// ---- a cell's whole story -------------------------------------------------------------------------------------------
const entries = bodies.flatMap(({ p, rows }) => rows.flatMap(r => r.fields.flatMap((field, n) => field.map(e => ({ ...e, p, row: r, column: columns[n] })))));
const of = new Map(entries.map(e => [e.b, e]));
function rove(to) { // one stop of the Tab key; arrows move
  const seen = e => !e.row.row.hidden && !e.row.row.parentNode.hidden && !e.td.hidden;
  const next = to || entries.find(seen);
  for (const b of table.querySelectorAll("b[tabindex='0']")) b.tabIndex = -1;
  if (next) next.b.tabIndex = 0;
  if (to) { to.b.focus(); to.b.scrollIntoView({ block: "nearest", inline: "nearest" }); }
}
for (const e of entries) {
  e.b.setAttribute("role", "button");
  e.b.setAttribute("aria-haspopup", "dialog");
  e.b.tabIndex = -1;
}
const open = e => {
  const list = $("cell").querySelector("dl"), text = e.facts;
  const built = text.match(/\d{4}-\d\d-\d\d/), hours = text.match(/[\d.]+ [hd]\b/), signed = text.match(/unsigned|signed by \w+/);
  const streams = e.p.streams.filter(s => !s.dkms && s.flavor === e.column.flavor && s.drivers.includes(e.driver));
  const offered = e.state === "offered";
  const facts = [
    ["Distribution", `${e.p.title}, ${e.p.a}`], ["Kernel", e.row.release], ["Driver", `${e.driver} (R${e.column.branch}), ${e.column.flavor} modules`],
    ["State", offered ? e.state : e.word], ["Why", e.why], ["Tested to", offered ? e.word || "unknown" : ""],
    ["Signed by", offered ? (signed ? signed[0].replace("signed by ", "certificate ") : e.p.signer || "nobody") : ""],
    ["Built", built ? built[0] : offered ? "unknown" : ""], ["After the kernel", hours ? hours[0] : offered ? "unknown" : ""],
    ["Streams", offered ? streams.map(s => s.name).join(", ") || "none" : ""],
  ];
  $("cell-title").textContent = `${e.driver} for ${e.row.release}`;
  list.replaceChildren(...facts.filter(f => f[1]).flatMap(([name, value]) => [make("dt", name), make("dd", value)]), make("dt", "Log"));
  const log = make("dd", e.log ? null : e.noLog || (e.state === "excluded" ? "nothing was built" : e.p.log || "nothing was built"));
  if (e.log) log.append(make("a", "build log", { href: e.log.getAttribute("href") }));
  list.append(log);
  $("cell").showModal();
};
table.addEventListener("click", event => {
  const cell = event.target.closest("td"), link = event.target.closest("a");
  if (link && !link.hash) return; // a log
  const b = event.target.closest("b") || (cell && (link ? link.closest("i").previousElementSibling : null));
  if (b && of.has(b)) { event.preventDefault(); rove(of.get(b)); open(of.get(b)); }
});
table.addEventListener("keydown", event => {
  const e = of.get(event.target), step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!e) return;
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(e); return; }
  if (!step) return;
  event.preventDefault();
  const rows = bodies.flatMap(b => b.body.hidden ? [] : b.rows.filter(r => !r.row.hidden));
  let r = rows.indexOf(e.row), c = columns.indexOf(e.column);
  for (;;) {
    r += step[0]; c += step[1];
    if (!rows[r] || !columns[c]) return;
    const field = columns[c].th.hidden ? [] : rows[r].fields[c];
    if (field.length) { rove(of.get(field[0].b)); return; }
  }
});
$("cell").addEventListener("click", event => { if (event.target === $("cell")) $("cell").close(); });

// ---- which stream? --------------------------------------------------------------------------------------------------
const drives = (s, branch, gpu) => !gpu || data.branches[branch][s.flavor].includes(gpu);
const cudaFits = (branch, cuda) => { const up = data.branches[branch].cuda; return !cuda || (!!up && older(up, cuda) >= 0); };
// What a stream gives a kernel: the newest driver it carries that this kernel has. "" is any kernel, "*" one's own.
const offers = (place, s, release) => {
  if (s.dkms) return [{ driver: s.drivers[s.drivers.length - 1], branch: s.branch }];
  if (release === "*") return [];
  const found = [];
  for (const row of place.rows) {
    if (release && row.release !== release) continue;
    const hit = row.fields.flatMap((field, n) => columns[n].flavor === s.flavor ? field.map(e => ({ ...e, branch: columns[n].branch })) : [])
      .find(e => e.state === "offered" && s.drivers.includes(e.driver));
    if (hit) found.push({ driver: hit.driver, branch: hit.branch, release: row.release });
  }
  return found;
};
const candidates = (place, gpu, cuda, release) => place.p.streams.flatMap(s => {
  const fits = offers(place, s, release).filter(o => drives(s, o.branch, gpu) && cudaFits(o.branch, cuda));
  return fits.length ? [{ s, ...fits[fits.length - 1] }] : [];
}).sort((x, y) => x.s.dkms - y.s.dkms || ended(data.branches[x.branch].eol) - ended(data.branches[y.branch].eol)
  || y.s.default - x.s.default || y.branch - x.branch || (x.s.flavor === "open" ? 0 : 1) - (y.s.flavor === "open" ? 0 : 1));
const copy = async (text, button) => {
  let done = false;
  try { await navigator.clipboard.writeText(text); done = true; } catch {
    const area = make("textarea", text); // a page that came over plain http has no clipboard of its own
    document.body.append(area); area.select(); done = document.execCommand("copy"); area.remove();
  }
  button.textContent = done ? "Copied" : "Select and copy";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
};
const command = lines => {
  const box = make("div", null, { className: "command" }), button = make("button", "Copy", { type: "button", className: "main" });
  const pre = make("pre"); pre.append(make("code", lines.join("\n"))); pre.tabIndex = 0;
  button.onclick = () => copy(lines.join("\n"), button);
  box.append(pre, button);
  return box;
};
const until = branch => { const eol = data.branches[branch].eol; return eol ? (ended(eol) ? `ended ${eol}` : `until ${eol}`) : "no end announced"; };
const advise = (place, first, others) => {
  const { s, driver, branch } = first;
  const b = data.branches[branch], parts = [make("h3", `${s.name}: driver ${driver}`)];
  parts.push(make("p", `${place.p.title}, ${place.p.a}. R${branch} ${b.type}, ${until(branch)}; ${s.flavor} modules, ` + (s.dkms ? "built on the host by DKMS: it needs a compiler and the kernel's devel package" : "ready-made")
    + (b.cuda ? `; CUDA up to ${b.cuda}` : "") + (s.default ? "; the default stream" : "") + "."));
  if (s.install.length) parts.push(command(s.install));
  if (s.switch.length) {
    const change = make("p", "A host that has another stream: ", { className: "soft" });
    s.switch.forEach(line => change.append(make("code", line), " "));
    parts.push(change);
  }
  if (place.p.begin.length) parts.push(make("p", "Once before, on a host that does not know this repository:", { className: "soft" }), command(place.p.begin));
  if (others.length) {
    const list = make("ul", null, { className: "also" });
    list.append(make("li", "Also fitting:"), ...others.slice(0, 8).map(o => {
      const item = make("li"), button = make("button", `${o.s.name} (${until(o.branch)})`, { type: "button" });
      button.onclick = () => $("answer").replaceChildren(...advise(place, o, [first, ...others].filter(x => x !== o)));
      item.append(button);
      return item;
    }));
    parts.push(list);
  }
  return parts;
};
const offer = (list, text, changes) => {
  const item = make("li"), button = make("button", text, { type: "button" });
  button.onclick = () => { for (const [id, value] of Object.entries(changes)) $(id).value = value; pick(); save(); };
  item.append(button);
  list.append(item);
};
const nothing = (place, gpu, cuda, release) => {
  const wish = [gpu && title(gpu), cuda && `CUDA ${cuda}`, release === "*" ? "a kernel of one's own" : release].filter(Boolean);
  const parts = [make("h3", "No stream of this distribution fits"), make("p", `Asked for: ${wish.join(" + ") || "any stream"}.`)];
  const why = make("ul"), would = make("ul", null, { className: "also" });
  const say = text => why.append(make("li", text));
  if (gpu) {
    const all = unique(place.p.streams.filter(s => s.branch && drives(s, s.branch, gpu)).map(s => s.branch)).sort((x, y) => y - x);
    if (!all.length) say(`No stream here drives ${title(gpu)}.`);
    else if (cuda && !all.some(b => cudaFits(b, cuda))) say(`The newest branch here for ${title(gpu)} is R${all[0]}, with CUDA up to ${data.branches[all[0]].cuda || "an unknown version"}.`);
    const wrong = place.p.streams.find(s => s.branch && !drives(s, s.branch, gpu) && data.branches[s.branch].gpus.includes(gpu));
    if (wrong) say(`${title(wrong.flavor)} modules, as in ${wrong.name}, do not drive ${title(gpu)}.`);
  }
  const row = place.rows.find(r => r.release === release);
  if (row) row.fields.forEach((field, n) => field.forEach(e => {
    const names = place.p.streams.filter(s => !s.dkms && s.flavor === columns[n].flavor && s.branch === columns[n].branch && drives(s, s.branch, gpu) && cudaFits(s.branch, cuda)).map(s => s.name);
    if (names.length && e.state !== "offered") say(`${names.join(", ")}: ${e.driver} ${e.state} for this kernel${e.why ? ": " + e.why : ""}.`);
  }));
  for (const s of place.p.held) if (data.branches[s.branch] && drives(s, s.branch, gpu) && cudaFits(s.branch, cuda))
    say(`${s.name} is held back${s.why ? ": " + s.why : ""}.`);
  if (release === "*" && !place.p.streams.some(s => s.dkms)) say("No DKMS stream here, which alone serves kernels of one's own.");
  const without = (g, c, k) => candidates(place, g, c, k)[0];
  const most = candidates(place, gpu, "", release).filter(o => data.branches[o.branch].cuda)
    .sort((x, y) => older(data.branches[y.branch].cuda, data.branches[x.branch].cuda))[0];
  let best;
  if (cuda && most) offer(would, `CUDA up to ${data.branches[most.branch].cuda}: ${most.s.name}`, { "pick-cuda": data.branches[most.branch].cuda });
  if (release && (best = without(gpu, cuda, "")) && best.release) offer(would, `kernel ${best.release}: ${best.s.name}`, { "pick-kernel": `${place.p.d}/${place.p.a}/${best.release}` });
  if (gpu && (best = without("", cuda, release))) offer(would, `another GPU (${data.branches[best.branch][best.s.flavor].map(title).join(", ")}): ${best.s.name}`, { "pick-gpu": "" });
  for (const other of bodies) if (other !== place && (best = candidates(other, gpu, cuda, "")[0]))
    offer(would, `${other.p.title}, ${other.p.a}: ${best.s.name}`, { "pick-kernel": `${other.p.d}/${other.p.a}/` });
  if (!why.children.length) say("Each wish can be met, but no stream meets all of them.");
  parts.push(why);
  if (would.children.length) parts.push(make("p", "What would fit:"), would);
  else parts.push(make("p", "Nothing in this repository would, whichever of these is given up."));
  return parts;
};
function pick() {
  const [d, a, ...rest] = $("pick-kernel").value.split("/"), release = rest.join("/");
  const place = bodies.find(b => b.p.d === d && b.p.a === a), gpu = $("pick-gpu").value, cuda = $("pick-cuda").value;
  const [first, ...others] = candidates(place, gpu, cuda, release);
  $("answer").replaceChildren(...(first ? advise(place, first, others) : nothing(place, gpu, cuda, release)));
}
if (bodies.length) {
  $("picker").hidden = false;
  $("pick").addEventListener("input", () => { pick(); save(); });
  $("pick").addEventListener("submit", event => event.preventDefault());
}

// ---- lifetimes: today -----------------------------------------------------------------------------------------------
$("now").hidden = false;
for (const svg of document.querySelectorAll(".life svg[data-first]")) {
  const bar = svg.querySelector(".bar"), first = +svg.dataset.first, x = (today.getFullYear() + today.getMonth() / 12 - first) / (svg.dataset.last - first) * 100;
  if (ended(bar.dataset.end)) bar.classList.add("past");
  if (x < 0 || x > 100) continue;
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({ class: "today", x1: x + "%", x2: x + "%", y1: "-9", y2: "27" })) line.setAttribute(name, value);
  svg.append(line);
}
if (bodies.length && location.hash.includes("=")) load(); else { filter(); if (bodies.length) pick(); }
})();
