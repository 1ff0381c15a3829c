// Following the session. A page opened from disk may not fetch() itself, but it may load itself in a
// frame. In there the page shows nothing and posts its data, as text, to the page around it.

const POLL_HASH = "#ductaflow-poll";
const RUNNING_PAUSE = 2000;
const FINISHED_PAUSE = 15000; // another session may begin
const LOAD_SHARE = 20; // at most 1/20 of the time goes into loading
const PATIENCE = 30000;
const GRACE = 1000; // an error page "loads" as well, but it never answers

let frame = null;
let frameSince = 0;
let timer = 0;
let shownText = "";

const isPolled = () => window.parent !== window && location.hash === POLL_HASH;

// A page from a web server answers only its own origin; pages from disk have none.
function answerPoll(text) {
  window.parent.postMessage(text, location.protocol === "file:" ? "*" : location.origin);
}

function poll() {
  if (frame || document.hidden) return;
  clearTimeout(timer);
  const url = new URL(location.href);
  url.searchParams.set("ductaflow", Date.now()); // past any cache
  url.hash = POLL_HASH;
  frame = el("iframe", { src: url.href, hidden: "", title: "New data" });
  frame.addEventListener("load", () => endPollIn(GRACE));
  frameSince = performance.now();
  document.body.append(frame);
  endPollIn(PATIENCE);
}

function endPollIn(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(endPoll, milliseconds);
}

const pollPause = (finished, loadTime) =>
  Math.max(finished ? FINISHED_PAUSE : RUNNING_PAUSE, LOAD_SHARE * loadTime);

function endPoll(loadTime = 0) {
  clearTimeout(timer);
  frame.remove();
  frame = null;
  timer = setTimeout(poll, pollPause(data.finished, loadTime));
}

function receive(event) {
  if (!frame || event.source !== frame.contentWindow) return;
  endPoll(performance.now() - frameSince);
  if (event.data !== shownText) showText(event.data);
}

function showText(text) {
  let next;
  try {
    next = unpack(JSON.parse(text));
  } catch {
    return; // half a file: the next load brings the rest
  }
  shownText = text;
  show(next);
}
