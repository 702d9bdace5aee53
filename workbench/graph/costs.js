// What each node costs, in Netron's view: in its side panel, and as colour with the figure beside the node.
window.workbenchCosts = (app, costs) => {
  const units = { macs: 'MACs', parameters: 'parameters', seconds: 'time', error: 'error', spikes: 'spikes' };
  const words = { ...units, macs: 'multiply-accumulates (MACs)' };
  const has = key => costs.nodes.some(node => node[key] !== null && node[key] !== undefined);
  const keys = Object.keys(units).filter(has);
  const count = value => {
    for (const [size, letter] of [[1e9, ' G'], [1e6, ' M'], [1e3, ' k']]) {
      if (value >= size) return `${(value / size).toPrecision(3)}${letter}`;
    }
    return String(value);
  };
  const time = value => value >= 1e-3 ? `${(value * 1e3).toPrecision(3)} ms` : `${(value * 1e6).toPrecision(3)} µs`;
  const figure = (key, value) => key === 'seconds' ? time(value) : key === 'error' ? value.toPrecision(2) : count(value);
  const byValue = new Map(costs.nodes.flatMap(node => node.outputs.map(name => [name, node])));
  const given = node => node.outputs.flatMap(output => Array.isArray(output.value) ? output.value : [])
    .map(value => byValue.get(value.name)).find(Boolean);
  for (const graph of app.model ? app.model.modules || app.model.graphs || [] : []) {
    for (const node of graph.nodes || []) {
      const cost = given(node);
      if (!cost) continue;
      const facts = keys.map(key => [units[key], cost[key] === null ? 'unknown' : figure(key, cost[key])]);
  if (cost.ran_as) facts.push(['ran as', cost.ran_as]);
      if (cost.shape) facts.unshift(['gives', cost.shape]);
      node.metrics = facts.map(([name, value]) => ({ name, value, type: 'attribute' }));
    }
  }
  // One hue from light to dark, and the figure itself: nothing is said by colour alone.
  const hues = [['#fff3c4', '#000'], ['#fdd49e', '#000'], ['#fc8d59', '#000'], ['#d7301f', '#fff'], ['#7f0000', '#fff']];
  const style = document.createElement('style');
  style.textContent = `
    #workbench-costs { position: fixed; top: 8px; left: 44px; z-index: 8; padding: 6px 10px; border-radius: 4px;
      font: 12px/1.5 system-ui, sans-serif; background: rgb(255 255 255 / .92); color: #222; border: 1px solid #bbb }
    #workbench-costs select { font: inherit; color: inherit; background: transparent; border: 1px solid #999;
      border-radius: 3px }
    #workbench-costs select:focus-visible { outline: 2px solid #1565c0 }
    #workbench-costs ol { list-style: none; margin: 4px 0 0; padding: 0; display: flex; gap: 2px }
    #workbench-costs li { padding: 0 5px; min-width: 2.4em; text-align: center }
    .workbench-figure { font: 10px system-ui, sans-serif; fill: #222 }
    @media (prefers-color-scheme: dark) {
      #workbench-costs { background: rgb(40 40 40 / .95); color: #eee; border-color: #666 }
      #workbench-costs option { background: #282828 }
      .workbench-figure { fill: #eee } }
    @media print { #workbench-costs select { border: 0; appearance: none } }`;
  document.head.append(style);
  const box = document.createElement('div'), label = document.createElement('label');
  const menu = document.createElement('select'), legend = document.createElement('ol'), note = document.createElement('div');
  box.id = 'workbench-costs';
  label.append('Colour: ', menu);
  box.append(label, legend, note);
  for (const [value, text] of [['', 'kind of operator'], ...keys.map(key => [key, words[key]])]) menu.add(new Option(text, value));
  document.body.append(box);
  const paint = () => {
    const key = menu.value, target = app.target, graph = app.activeTarget;
    document.querySelectorAll('.workbench-figure').forEach(text => text.remove());
    document.querySelectorAll('[data-workbench-hue]').forEach(part => {
      part.style.removeProperty('fill');
      delete part.dataset.workbenchHue;
    });
    const values = costs.nodes.map(node => node[key]).filter(value => typeof value === 'number');
    const most = Math.max(0, ...values);
    legend.replaceChildren(...(key && most ? hues.map(([back, front], step) => {
      const item = document.createElement('li');
      item.textContent = `≤ ${figure(key, most * (step + 1) / hues.length)}`;
      [item.style.background, item.style.color] = [back, front];
      return item;
    }) : []));
    const total = key && costs.total[key];
    note.textContent = total ? `${figure(key, total)} in all${costs.note && key === 'macs' ? costs.note : ''}` : '';
    if (!key || !graph || !target) return;
    for (const node of graph.nodes) {
      const cost = given(node);
      if (!cost) continue;
      const known = typeof cost[key] === 'number';
      for (const element of target.select([node], 'workbench')) {
        // What costs nothing is grey; so is what is unknown, which says so.
        const step = Math.min(hues.length - 1, Math.floor(hues.length * cost[key] / (most || 1)));
        const [back, front] = known && cost[key] ? hues[step] : ['#9e9e9e', '#000'];
        for (const part of element.querySelectorAll('.node-item-type')) {
          for (const [shape, colour] of [['path', back], ['text', front]]) {
            for (const one of part.querySelectorAll(shape)) {
              one.style.fill = colour;
              one.dataset.workbenchHue = key;
            }
          }
        }
        if (known && !cost[key]) continue;
        const text = document.createElementNS('http://www.w3.org/2000/svg', 'text');
        const border = element.querySelector('.node-border').getBBox();
        text.setAttribute('class', 'workbench-figure');
        // Above the node, left of the arrow that comes in.
        text.setAttribute('x', border.width / 2 - 6);
        text.setAttribute('y', -4);
        text.setAttribute('text-anchor', 'end');
        text.textContent = known ? figure(key, cost[key]) : '?';
        element.append(text);
      }
    }
    target.select([], 'workbench');
  };
  menu.addEventListener('change', paint);
  // A function's body is another drawing, and so is the graph after it.
  let target = app.target;
  setInterval(() => { if (app.target !== target) { target = app.target; paint(); } }, 300);
};
