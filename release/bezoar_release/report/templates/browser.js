"use strict";
(() => {
  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target || target.tagName !== "DETAILS") return;
    for (let one = target; one; one = one.parentElement.closest("details")) one.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => {
    one.open = true;
  }));
  open();
  document.querySelectorAll(".graph").forEach((one) => { one.scrollLeft = (one.scrollWidth - one.clientWidth) / 2; });

  const data = document.getElementById("samples-data");
  if (!data) return;
  const items = JSON.parse(data.textContent);
  const list = document.getElementById("samples-list");
  const told = document.getElementById("samples-told");
  const more = document.getElementById("samples-more");
  const search = document.getElementById("samples-search");
  const filters = Object.fromEntries(["benchmark", "category", "outcome", "model"].map(
    (name) => [name, document.getElementById("samples-" + name)]));
  const page = 10;
  let found = items;
  let shown = 0;

  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const outcomes = (answer) => answer.figures.map((figure) => figure[2]);
  const unscored = (answer) => outcomes(answer).find((outcome) => outcome !== "scored");
  const fits = (item, answers, outcome) => {
    if (outcome === "differs") return item.differs;
    if (outcome === "alike") return !item.differs && !answers.some(unscored);
    if (outcome === "not scored") return answers.some(unscored);
    return answers.some((answer) => outcomes(answer).includes(outcome));
  };
  const words = (item) => {
    if (item.words === undefined) {
      item.words = [item.item, item.question, ...item.answers.flatMap((one) => [one.text, one.words, one.expected])]
        .join("\n").toLowerCase();
    }
    return item.words;
  };
  const fill = (name, values) => {
    for (const value of [...new Set(values)].sort()) {
      const option = make("option", "", value || "(none)");
      option.value = value;
      filters[name].append(option);
    }
  };
  fill("benchmark", items.map((item) => item.benchmark));
  fill("category", items.map((item) => item.category));
  fill("model", items.flatMap((item) => item.answers.map((answer) => answer.model)));

  const answers = (item) => {
    const model = filters.model.value;
    return model === "*" ? item.answers : item.answers.filter((answer) => answer.model === model);
  };
  const number = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(3));
  const card = (item) => {
    const box = make("article", "sample");
    const head = make("div", "head");
    head.append(make("b", "", item.benchmark), make("span", "", item.category), make("span", "", "item " + item.item));
    if (item.answers.some(unscored)) head.append(make("span", "badge bad", "not scored"));
    if (item.differs) head.append(make("span", "badge warn", "models differ"));
    box.append(head, make("div", "text question", item.question));
    const expected = item.answers.map((answer) => answer.expected).find(Boolean);
    if (expected) {
      const told_of = make("details");
      told_of.append(make("summary", "small", "the right answer, or a reference"), make("div", "text", expected));
      box.append(told_of);
    }
    const columns = make("div", "answers");
    for (const answer of answers(item)) {
      const column = make("div", "answer");
      const who = make("div", "who");
      who.append(make("b", "", answer.model));
      const said = answer.figures.map(([metric, value, outcome]) =>
        metric + " " + (outcome === "scored" && value !== null ? number(value) : outcome)).join(", ");
      who.append(make("span", unscored(answer) ? "bad" : "", said));
      column.append(who, make("div", "text", answer.text || "(empty answer)"));
      if (answer.finish && answer.finish !== "stop") column.append(make("div", "small", "ended by: " + answer.finish));
      if (answer.words) {
        const judged = make("details");
        judged.open = Boolean(unscored(answer));
        judged.append(make("summary", "small", "the judge's words"), make("div", "text", answer.words));
        column.append(judged);
      }
      columns.append(column);
    }
    box.append(columns);
    return box;
  };
  const extend = () => {
    const next = found.slice(shown, shown + page);
    list.append(...next.map(card));
    shown += next.length;
    more.hidden = shown >= found.length;
    more.textContent = "Show " + Math.min(page, found.length - shown) + " more";
  };
  const update = () => {
    const wanted = search.value.trim().toLowerCase();
    found = items.filter((item) => {
      const own = answers(item);
      return own.length > 0
        && (filters.benchmark.value === "*" || item.benchmark === filters.benchmark.value)
        && (filters.category.value === "*" || item.category === filters.category.value)
        && (filters.outcome.value === "*" || fits(item, own, filters.outcome.value))
        && (!wanted || words(item).includes(wanted));
    });
    told.textContent = found.length + " of " + items.length + " items";
    list.replaceChildren();
    shown = 0;
    extend();
  };
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(update, 120); });
  Object.values(filters).forEach((filter) => filter.addEventListener("change", update));
  more.addEventListener("click", extend);
  document.getElementById("samples-controls").hidden = false;
  update();
})();
