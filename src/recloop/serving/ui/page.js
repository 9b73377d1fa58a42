// The playground: whoever uses the page has a history in it (a guest), or is a user of the service.
// Whatever comes from the service is data, and is put into the page as text only.

const ASKED = 10;
const LOOKS = 5; // at a user's list after a click, until it has changed
const at = (id) => document.getElementById(id);
const titles = new Map();
const state = { guest: `playground-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`, user: null, picks: [], slate: null, reasons: false };
let asking = 0; // numbers the requests for a list, so that a late answer does not replace a newer one

class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value);
  }
  element.append(...children); // strings become text
  return element;
}

async function call(path, body) {
  const headers = {};
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  for (let attempt = 0; ; attempt += 1) {
    const answer = await fetch(path, { headers, method: body ? "POST" : "GET", body: body && JSON.stringify(body) });
    if (answer.ok) return answer.json();
    if (answer.status === 503 && answer.headers.has("Retry-After") && attempt < 3) {
      await pause(Math.min(Number(answer.headers.get("Retry-After")) || 1, 5) * 1000);
      continue;
    }
    const told = await answer.json().catch(() => ({}));
    if (answer.status === 401 || answer.status === 403) at("access").hidden = false;
    const detail = (told.detail ?? []).map((one) => `${one.loc.join(".")}: ${one.msg}`).join("; ");
    throw new Refused(answer.status, told.error ?? (detail || `The service answered ${answer.status}.`));
  }
}

// What goes wrong is said; what was there stays.
async function trying(work) {
  try {
    const made = await work();
    at("problem").hidden = true;
    return made;
  } catch (error) {
    at("problem").textContent = error instanceof Refused ? error.message : "The service cannot be reached.";
    at("problem").hidden = false;
    if (!(error instanceof Refused || error instanceof TypeError)) throw error;
    return null;
  }
}

const learn = (items) => items.forEach((one) => titles.set(one.item_id, one));
const title = (id) => titles.get(id)?.title ?? id;
const kinds = (id) => (titles.get(id)?.categories ?? []).join(", ");

async function learnTitles(ids) {
  const unknown = ids.filter((id) => !titles.has(id));
  if (unknown.length) learn((await call(`catalogue?${new URLSearchParams(unknown.map((id) => ["ids", id]))}`)).items);
}

const becauseOf = (item) => item.reason?.because ?? [];

function request() {
  const body = { user_id: state.user ?? state.guest, k: ASKED };
  if (state.user === null) body.history = state.picks.map((id) => ({ item_id: id }));
  return body;
}

async function ask() {
  const number = (asking += 1);
  const slate = await call("recommend", state.reasons ? { ...request(), reasons: true } : request());
  await learnTitles(slate.items.flatMap((item) => [item.item_id, ...becauseOf(item).map((one) => one.item_id)]));
  return number === asking ? slate : null;
}

const GROUNDS = {
  nobody: "Nothing is known of whoever asks.",
  unknown_user: "This user is not known, so everybody is recommended the same.",
  empty_history: "Nothing is known yet, so everybody is recommended the same.",
};

// How a list differs from the one before: for each item what to write beside it, and in words.
function difference(before, after) {
  const old = before.items.map((item) => item.item_id);
  const now = after.items.map((item) => item.item_id);
  const marks = new Map(now.map((id, place) => {
    const was = old.indexOf(id);
    if (was < 0) return [id, ["new", "new"]];
    if (was === place) return [id, ["", ""]];
    return [id, was > place ? ["up", `↑ ${was - place}`] : ["down", `↓ ${place - was}`]];
  }));
  const count = (kind) => [...marks.values()].filter(([one]) => one === kind).length;
  const gone = old.filter((id) => !now.includes(id));
  const told = [[count("new"), "new"], [count("up"), "moved up"], [count("down"), "moved down"], [gone.length, "gone"]];
  return { marks, gone, told: told.filter(([many]) => many).map(([many, what]) => `${many} ${what}`).join(", ") };
}

function row(item, place, best, mark, onclick) {
  const text = [make("span", { class: "name" }, title(item.item_id))];
  if (kinds(item.item_id)) text.push(make("span", { class: "quiet" }, ` ${kinds(item.item_id)}`));
  const because = becauseOf(item).map((one) => `${title(one.item_id)} (${Math.round(100 * one.share)}\u00a0%)`);
  if (because.length) text.push(make("div", { class: "quiet reason" }, `Because of ${because.join(", ")}`));
  else if (typeof item.reason === "string") text.push(make("div", { class: "quiet reason" }, item.reason));
  if (best > 0) text.push(make("progress", { class: "bar", max: best, value: Math.max(item.score, 0), "aria-hidden": "true" }));
  const side = make("div", { class: "side" }, make("span", { title: "score" }, number(item.score)));
  if (mark?.[1]) side.append(make("span", { class: `mark ${mark[0]}` }, mark[1]));
  const main = onclick ? make("button", { type: "button", "data-id": item.item_id, onclick }, ...text) : make("div", {}, ...text);
  return make("li", { class: mark?.[0] ?? "" }, make("span", { class: "place", "aria-hidden": "true" }, `${place + 1}`), main, side);
}

function show(slate, said) {
  const changes = state.slate && difference(state.slate, slate);
  state.slate = slate;
  const best = Math.max(...slate.items.map((item) => item.score));
  const rows = slate.items.map((item, place) => row(item, place, best, changes?.marks.get(item.item_id), () => click(item.item_id, place)));
  at("items").replaceChildren(...rows);
  at("for").textContent = state.user === null ? "for you" : `for ${state.user}`;
  const ground = GROUNDS[slate.fallback] ?? "From the history.";
  at("ground").textContent = `${ground} Click what you would take. Bundle ${slate.bundle}, policy ${slate.policy}.`;
  const told = changes && (changes.told || "nothing changed");
  at("changed").textContent = changes ? `${said}: ${told}.` : "";
  const gone = changes?.gone ?? [];
  at("gone").hidden = !gone.length;
  at("gone").textContent = `Gone: ${gone.map(title).join(", ")}`;
}

async function renew(said) {
  const slate = await ask();
  if (slate) show(slate, said);
}

// A click is an event of whoever asks, with the id of the slate that led to it; then the list is asked for again.
async function click(id, place) {
  const before = state.slate;
  await trying(async () => {
    const event = {
      event_id: `playground-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`, user_id: state.user ?? state.guest,
      item_id: id, event: "click", timestamp: new Date().toISOString(), request_id: before.request_id,
    };
    const taken = await call("feedback", { events: [event] });
    if (taken.rejected.length) throw new Refused(200, `The click was not stored: ${taken.rejected[0].reason}`);
    if (state.user === null) {
      state.picks = [...state.picks.filter((one) => one !== id), id];
      showPicks();
    }
    let slate = await ask();
    for (let look = 1; slate && look < LOOKS && !difference(before, slate).told; look += 1) {
      await pause(200);
      slate = await ask();
    }
    if (!slate) return;
    show(slate, `After ${title(id)}`);
    const buttons = at("items").querySelectorAll("button");
    buttons[Math.min(place, buttons.length - 1)]?.focus();
  });
}

function showPicks() {
  at("picks-part").hidden = !state.picks.length;
  at("picks").replaceChildren(...state.picks.map((id) => make("li", {}, make("button", {
    type: "button", "aria-label": `Remove ${title(id)}`, onclick: () => {
      state.picks = state.picks.filter((one) => one !== id);
      showPicks();
      (at("picks").querySelector("button") ?? at("search")).focus();
      trying(() => renew(`Without ${title(id)}`));
    },
  }, `${title(id)} ×`))));
}

function become(user) {
  Object.assign(state, { user, picks: [], slate: null });
  if (user === null) at("user").value = "";
  showPicks();
  at("sides").replaceChildren();
}

function pick(id) {
  if (state.user !== null) become(null);
  if (!state.picks.includes(id)) state.picks.push(id);
  at("search").focus();
  at("search").select();
  showPicks();
  trying(() => renew(`With ${title(id)}`));
}

let typing;
let searching = 0;
let foundFor = ""; // the query whose titles are listed
async function search() {
  clearTimeout(typing);
  const number = (searching += 1);
  const query = at("search").value;
  const found = query.trim() ? (await call(`catalogue?${new URLSearchParams({ query, limit: 20 })}`)).items : [];
  if (number !== searching) return;
  foundFor = query;
  learn(found);
  const text = (one) => [make("span", { class: "name" }, one.title), make("span", { class: "quiet" }, ` ${one.categories.join(", ")}`)];
  at("found").replaceChildren(...found.map((one) => make("li", {}, make("button", { type: "button", onclick: () => pick(one.item_id) }, ...text(one)))));
  const many = found.length === 20 ? "The first 20 titles" : found.length === 1 ? "One title" : `${found.length || "No"} titles`;
  at("count").textContent = query.trim() ? `${many} for “${query.trim()}”.` : "";
}

async function byKey(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key] ?? 0;
  const box = at("search");
  const found = [...at("found").querySelectorAll("button")];
  const here = [box, ...found].indexOf(document.activeElement);
  if (here < 0 || event.isComposing || !(step || event.key === "Escape" || event.key === "Enter")) return;
  if (here > 0) {
    if (event.key === "Enter") return; // the button's own click
    event.preventDefault();
    (step ? [box, ...found][Math.min(here + step, found.length)] : box).focus();
  } else if (event.key !== "Escape") {
    event.preventDefault();
    if (box.value !== foundFor) await trying(search);
    const first = at("found").querySelector("button");
    if (event.key === "Enter") first?.click();
    else if (step > 0) first?.focus();
  }
}

async function compare() {
  const ids = [state.model.manifest.id, at("other").value];
  const [left, right] = await Promise.all(ids.map((id) => call(`ui/recommend?${new URLSearchParams({ bundle: id })}`, request())));
  await learnTitles([...left.items, ...right.items].map((item) => item.item_id));
  const side = (name, one, other) => {
    const best = Math.max(...one.items.map((item) => item.score));
    const also = new Set(other.items.map((item) => item.item_id));
    const rows = one.items.map((item, place) => row(item, place, best, also.has(item.item_id) ? null : ["only", "only here"]));
    return make("section", { "aria-label": name }, make("h3", {}, `${name} ${one.bundle}`), make("ol", { class: "items" }, ...rows));
  };
  at("sides").replaceChildren(side("Champion", left, right), side("Challenger", right, left));
}

const number = (value) => (typeof value === "number" ? Number(value.toPrecision(4)).toLocaleString("en") : `${value}`);

function card(heading, manifest) {
  const facts = [["Model", manifest.model], ["Bundle", manifest.id], ["Items", manifest.n_items], ["Users", manifest.n_users],
    ["Code", manifest.git_revision], ["Trained on", manifest.data?.train_window?.map((one) => one.slice(0, 10)).join(" to ")], ["Decision", manifest.decision?.verdict]];
  const metrics = Object.entries(manifest.metrics ?? {}).filter(([, value]) => typeof value === "number");
  const list = (rows) => make("dl", {}, ...rows.filter(([, value]) => value != null).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, number(value))]));
  const parts = [make("h3", {}, heading), list(facts)];
  if (metrics.length) parts.push(make("details", { open: "" }, make("summary", {}, "Metrics of the evaluation"), list(metrics)));
  parts.push(make("details", {}, make("summary", {}, "Whole manifest"), make("pre", { tabindex: "0" }, JSON.stringify(manifest, null, 2))));
  return make("div", {}, ...parts);
}

async function showModel() {
  state.model = await call("model");
  const { manifest, challengers, plan } = state.model;
  const role = (id) => (plan.canary?.bundle === id ? `Canary, ${number(100 * plan.canary.share)} % of the users` : "Shadow, shown to nobody");
  const cards = Object.values(challengers).map((one) => card(role(one.id), one));
  at("manifest").replaceChildren(make("div", { class: "cards" }, card(plan.pinned ? "Champion, pinned" : "Champion", manifest), ...cards));
  at("serving").textContent = `${manifest.model}, ${number(manifest.n_items)} items, bundle ${manifest.id}`;
  at("compare").hidden = !cards.length;
  at("other").replaceChildren(...Object.values(challengers).map((one) => make("option", { value: one.id }, `${one.model} ${one.id}`)));
}

async function begin() {
  await trying(async () => {
    await showModel();
    const described = await call("docs.json").catch(() => ({}));
    state.reasons = "reasons" in (described.components?.schemas?.RecommendRequest?.properties ?? {});
    await renew("");
  });
}

at("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => trying(search), 120);
});
document.addEventListener("keydown", byKey);
at("person").addEventListener("submit", (event) => {
  event.preventDefault();
  become(at("user").value.trim() || null);
  trying(() => renew(""));
});
at("anew").addEventListener("click", () => {
  become(null);
  at("search").value = "";
  trying(search);
  at("search").focus();
  trying(() => renew(""));
});
at("compare-now").addEventListener("click", () => trying(compare));
at("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", at("key").value.trim());
  at("access").hidden = true;
  begin();
});
begin();
