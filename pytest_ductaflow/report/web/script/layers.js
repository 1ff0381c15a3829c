// The layout of a graph in layers: what waits for something stands in a later layer than that.

// Returns places for nodes: {layer, at} each, `at` the middle across the layers, and the points of each edge.
// sizeOf(id) is what a node takes across the layers; `null` stands for an edge that passes by.
function layered(ids, edges, sizeOf, space) {
  const forward = withoutCircles(ids, edges);
  const layerOf = longestWays(ids, forward);
  const layers = [];
  const put = (id, layer) => { (layers[layer] ??= []).push(id); };
  for (const id of ids) put(id, layerOf.get(id));
  const links = []; // between neighbouring layers: [from, to]
  const chains = forward.map(([from, to], n) => {
    const chain = [from];
    for (let layer = layerOf.get(from) + 1; layer < layerOf.get(to); layer += 1) {
      const passing = `\0${n}:${layer}`;
      put(passing, layer);
      chain.push(passing);
    }
    chain.push(to);
    for (let k = 1; k < chain.length; k += 1) links.push([chain[k - 1], chain[k]]);
    return chain;
  });
  const [before, after] = [neighbours(links, 1), neighbours(links, 0)];
  for (let round = 0; round < 4; round += 1) {
    for (const layer of layers) orderLayer(layer, layers, before);
    for (const layer of [...layers].reverse()) orderLayer(layer, layers, after);
  }
  const sizes = (id) => (id.startsWith("\0") ? sizeOf(null) : sizeOf(id));
  const at = placed(layers, before, after, sizes, space);
  const places = new Map(layers.flatMap((layer, n) => layer.map((id) => [id, { layer: n, at: at.get(id) }])));
  const least = Math.min(0, ...[...places].map(([id, place]) => place.at - sizes(id) / 2));
  for (const place of places.values()) place.at -= least;
  const across = Math.max(0, ...[...places].map(([id, place]) => place.at + sizes(id) / 2));
  return { places, chains: chains.map((chain) => chain.map((id) => places.get(id))), edges: forward, layers: layers.length, across };
}

// Leaves out the edges that lead back: steps may wait for each other where their instances do not.
function withoutCircles(ids, edges) {
  const following = neighbours(edges, 0);
  const state = new Map(); // 1: on the way, 2: done
  const back = new Set();
  for (const first of ids) {
    const stack = state.has(first) ? [] : [[first, 0]];
    if (stack.length) state.set(first, 1);
    while (stack.length) {
      const top = stack[stack.length - 1];
      const next = following.get(top[0])?.[top[1]];
      top[1] += 1;
      if (next === undefined) {
        state.set(top[0], 2);
        stack.pop();
      } else if (state.get(next) === 1) {
        back.add(`${top[0]}\n${next}`);
      } else if (!state.has(next)) {
        state.set(next, 1);
        stack.push([next, 0]);
      }
    }
  }
  return edges.filter(([from, to]) => from !== to && !back.has(`${from}\n${to}`));
}

// Returns for each end of edges the other ends; side 0: those that follow, 1: those before.
function neighbours(edges, side) {
  const found = new Map();
  for (const edge of edges) {
    const mine = found.get(edge[side]);
    if (mine) mine.push(edge[1 - side]);
    else found.set(edge[side], [edge[1 - side]]);
  }
  return found;
}

function longestWays(ids, edges) {
  const following = neighbours(edges, 0);
  const open = new Map(ids.map((id) => [id, 0]));
  for (const [, to] of edges) open.set(to, open.get(to) + 1);
  const layer = new Map(ids.map((id) => [id, 0]));
  const ready = ids.filter((id) => !open.get(id));
  for (let n = 0; n < ready.length; n += 1) {
    for (const next of following.get(ready[n]) ?? []) {
      layer.set(next, Math.max(layer.get(next), layer.get(ready[n]) + 1));
      open.set(next, open.get(next) - 1);
      if (!open.get(next)) ready.push(next);
    }
  }
  return layer;
}

// Puts each node of a layer where its neighbours are on average, so that few edges cross.
function orderLayer(layer, layers, near) {
  const rank = new Map(layers.flatMap((each) => each.map((id, n) => [id, n / each.length])));
  const wanted = new Map(layer.map((id) => {
    const others = near.get(id);
    return [id, others ? sum(others.map((other) => rank.get(other))) / others.length : rank.get(id)];
  }));
  layer.sort((a, b) => wanted.get(a) - wanted.get(b));
}

// Returns the middle of each node across the layers: near its neighbours, as far as there is room.
function placed(layers, before, after, sizeOf, space) {
  const at = new Map();
  for (const layer of layers) {
    let next = -sum(layer.map((id) => sizeOf(id) + space)) / 2;
    for (const id of layer) {
      at.set(id, next + sizeOf(id) / 2);
      next += sizeOf(id) + space;
    }
  }
  for (const [near, order] of [[before, layers], [after, [...layers].reverse()], [before, layers]]) {
    for (const layer of order) {
      const wanted = layer.map((id) => mean((near.get(id) ?? [id]).map((other) => at.get(other))));
      let low = -Infinity;
      layer.forEach((id, n) => {
        at.set(id, Math.max(wanted[n], low + sizeOf(id) / 2));
        low = at.get(id) + sizeOf(id) / 2 + space;
      });
      const pushed = mean(layer.map((id, n) => at.get(id) - wanted[n]));
      for (const id of layer) at.set(id, at.get(id) - pushed);
    }
  }
  return at;
}

const mean = (numbers) => sum(numbers) / numbers.length;
