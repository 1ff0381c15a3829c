// A list of which only the rows in sight are elements. Rows may have different heights, which are known
// once they have been in sight; until then, each counts like the last one that was measured.

const BEYOND = 500; // pixels above and below what is in sight
const MOST_PRINTED = 2000; // rows

class WindowedList {
  // draw(row, node) fills the element of a row; scroller is the element that scrolls, if not the page.
  constructor(container, draw, scroller = null) {
    Object.assign(this, { container, draw, scroller, rows: [], drawn: new Map(), heights: new Map() });
    this.usual = 36;
    this.offsets = [0];
    this.isWaiting = false;
    this.width = 0;
    const onScroll = () => this.renderSoon();
    (scroller ?? window).addEventListener("scroll", onScroll, { passive: true });
    window.addEventListener("resize", () => this.resized());
    window.addEventListener("beforeprint", () => { if (this.container.offsetParent) this.render(true); });
    window.addEventListener("afterprint", () => this.render());
  }

  // Shows these rows; of those in sight, the ones whose text has changed are drawn anew.
  show(rows, isStale = () => false) {
    this.rows = rows;
    for (const [id, each] of this.drawn) {
      each.isStale = isStale(id);
      if (each.isStale) each.node.remove(); // so that it is the one that moves, not all others
    }
    this.measureOffsets();
    this.render();
  }

  resized() {
    if (this.container.clientWidth === this.width) return;
    this.heights.clear();
    this.measureOffsets();
    this.render();
  }

  heightOf(row) {
    return this.heights.get(row.id) ?? this.usual;
  }

  measureOffsets() {
    const offsets = new Float64Array(this.rows.length + 1);
    for (let n = 0; n < this.rows.length; n += 1) offsets[n + 1] = offsets[n] + this.heightOf(this.rows[n]);
    this.offsets = offsets;
  }

  renderSoon() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => { this.isWaiting = false; this.render(); });
  }

  // Returns the numbers of the first row in sight and of the first one after these.
  range() {
    const box = this.container.getBoundingClientRect();
    const top = this.scroller ? this.scroller.getBoundingClientRect().top : 0;
    const height = this.scroller ? this.scroller.clientHeight : window.innerHeight;
    const from = top - box.top - BEYOND;
    return [this.rowAt(from), Math.min(this.rows.length, this.rowAt(from + height + 2 * BEYOND) + 1)];
  }

  // Returns the number of the row at a distance from the top of the list.
  rowAt(distance) {
    let [low, high] = [0, this.rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.offsets[middle + 1] <= distance) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  render(all = false) {
    if (!this.container.offsetParent && !all) return; // out of sight
    this.width = this.container.clientWidth;
    for (let tries = 0; tries < 4; tries += 1) {
      const [from, to] = all ? [0, Math.min(this.rows.length, MOST_PRINTED)] : this.range();
      this.place(from, to, all);
      if (!this.measured(from, to)) break;
      this.measureOffsets();
    }
  }

  // Puts the elements of some rows into the list. One in its place is not touched: that would lose a selection.
  place(from, to, all) {
    const kept = new Set();
    let next = this.container.firstElementChild;
    for (const row of this.rows.slice(from, to)) {
      kept.add(row.id);
      const node = this.nodeOf(row);
      if (node === next) next = next.nextElementSibling;
      else this.container.insertBefore(node, next);
    }
    for (const [id, { node }] of this.drawn) {
      if (!kept.has(id)) {
        node.remove();
        this.drawn.delete(id);
      }
    }
    const below = all ? 0 : this.offsets[this.rows.length] - this.offsets[to];
    this.container.style.paddingTop = `${this.offsets[from]}px`;
    this.container.style.paddingBottom = `${Math.max(0, below)}px`;
  }

  nodeOf(row) {
    let each = this.drawn.get(row.id);
    if (!each) {
      each = { node: el("div", { role: "rowgroup" }), isStale: true };
      this.drawn.set(row.id, each);
    }
    each.row = row;
    if (each.isStale) this.draw(row, each.node);
    each.isStale = false;
    return each.node;
  }

  // Takes note of the heights of rows that are drawn; returns whether one is another than was thought.
  measured(from, to) {
    let isNew = false;
    for (const row of this.rows.slice(from, to)) {
      const height = this.drawn.get(row.id).node.getBoundingClientRect().height;
      if (Math.abs(height - this.heightOf(row)) > 0.5) isNew = true;
      this.heights.set(row.id, height);
      if (!unfolded.has(row.id)) this.usual = height;
    }
    return isNew;
  }
}
