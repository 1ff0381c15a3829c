// Elements of the page. Data enters it as text nodes and attributes only, so that nothing in it can be
// taken for markup.

const $ = (id) => document.getElementById(id);
const page = document.documentElement;

function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null));
  return node;
}

// Equal text is not set again: that would drop a selection and make screen readers repeat it.
function put(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

const cell = (name, ...children) => el("div", { role: "cell", class: `${name}-cell` }, ...children);

function light(status, remark = "") {
  const label = labelOf(status) + remark;
  return el("span", { class: `light ${status}`, role: "img", "aria-label": label, title: label });
}

const button = (text, attributes = {}) => el("button", { type: "button", ...attributes }, text);

const section = (heading, body) => el("section", {}, el("h2", {}, heading), body);

const lines = (kind, texts) => el("pre", { class: kind, tabindex: 0 }, texts.join("\n"));

// Makes content that may be too wide or too high scrollable by keyboard, too.
const scrollable = (label) => ({ tabindex: 0, role: "group", "aria-label": label });

// A list of choices: [value, text] or a text that is both.
function choice(label, options, chosen, attributes = {}) {
  const select = el("select", { "aria-label": label, ...attributes }, options.map((option) => {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    return el("option", { value, selected: value === chosen ? "" : null }, text);
  }));
  return el("label", { class: "choice" }, el("span", {}, label), select);
}

// "./" keeps a path relative whatever it begins with. A name that is not valid Unicode (a lone
// surrogate) gives a broken link rather than an error.
function href(path) {
  const encode = (part) => encodeURIComponent(part.replace(/\p{Surrogate}/gu, "\ufffd"));
  return "./" + path.split("/").map(encode).join("/");
}

const link = (path, text) => el("a", { href: href(path), target: "_blank", rel: "noopener" }, text);

const links = (paths) =>
  Object.entries(paths ?? {}).filter(([, path]) => path).map(([name, path]) => link(path, name));
