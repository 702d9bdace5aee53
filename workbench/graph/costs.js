// What each node costs, in Netron's view: in its side panel, as colour with the figure beside the node, and as a table
// whose rows are its nodes, found by name, operator and shape.
window.workbenchCosts = (app, costs) => {
  const units = { macs: 'MACs', parameters: 'parameters', seconds: 'time', error: 'error', spikes: 'spikes' };
  const words = {
    ...units, macs: 'multiply-accumulates (MACs)', error: 'error, as a share of what is right',
    spikes: 'spikes per neuron and step',
  };
  const has = key => costs.nodes.some(node => node[key] !== null && node[key] !== undefined);
  const keys = Object.keys(units).filter(has);
  const count = value => {
    for (const [size, letter] of [[1e9, ' G'], [1e6, ' M'], [1e3, ' k']]) {
      if (value >= size) return `${(value / size).toPrecision(3)}${letter}`;
    }
    return String(value);
  };
  const time = value => value >= 1e-3 ? `${(value * 1e3).toPrecision(3)} ms` : `${(value * 1e6).toPrecision(3)} µs`;
  const figure = (key, value) => key === 'seconds' ? time(value) : ['error', 'spikes'].includes(key) ? value.toPrecision(2)
    : count(value);
  const byValue = new Map(costs.nodes.flatMap(node => node.outputs.map(name => [name, node])));
  // A box of folded nodes costs what they cost together, and errs as much as the one of them that errs most.
  const boxes = new Map();
  const folds = node => node.type.module === 'workbench.folded';
  const within = node => [...node.attributes || [], ...node.blocks || []].filter(part => part.type === 'graph')
    .flatMap(part => part.value.nodes);
  const together = node => within(node).map(given).filter(Boolean).reduce((sum, cost) => {
    for (const key of keys.filter(key => key !== 'spikes' && typeof cost[key] === 'number')) {
      sum[key] = key === 'error' ? Math.max(sum[key] ?? 0, cost[key]) : (sum[key] ?? 0) + cost[key];
    }
    return sum;
  }, {});
  const given = node => {
    if (folds(node)) {
      if (!boxes.has(node)) boxes.set(node, together(node));
      return boxes.get(node);
    }
    return node.outputs.flatMap(output => Array.isArray(output.value) ? output.value : [])
      .map(value => byValue.get(value.name)).find(Boolean);
  };
  for (const graph of app.model ? app.model.modules || app.model.graphs || [] : []) {
    for (const node of graph.nodes || []) {
      const cost = given(node);
      if (!cost) continue;
      const facts = keys.map(key => [units[key], typeof cost[key] !== 'number' ? 'unknown' : figure(key, cost[key])]);
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
    #workbench-costs button, #workbench-table button { font: inherit; color: inherit; background: transparent;
      border: 1px solid #999; border-radius: 3px; cursor: pointer }
    #workbench-costs > button { margin-left: 8px }
    #workbench-table { position: fixed; inset: auto 0 0 0; z-index: 8; height: 42%; overflow: auto; box-sizing: border-box;
      padding: 6px 10px; font: 12px/1.5 system-ui, sans-serif; background: #fff; color: #222; border-top: 1px solid #bbb }
    #workbench-table:not([hidden]) { display: block }
    #workbench-table form { display: flex; gap: 8px; align-items: center }
    #workbench-table input { font: inherit; color: inherit; background: transparent; border: 1px solid #999;
      border-radius: 3px; padding: 1px 6px; flex: 0 1 30em; min-width: 8em }
    #workbench-table table { border-collapse: collapse; margin-top: 4px; width: 100% }
    #workbench-table th { text-align: left; font-weight: 600; border-bottom: 1px solid #bbb; white-space: nowrap }
    #workbench-table td, #workbench-table th { padding: 0 8px 0 0 }
    #workbench-table td { border-bottom: 1px solid rgb(128 128 128 / .25); overflow-wrap: anywhere }
    #workbench-table :is(td, th):is(:first-child, :nth-child(3)) { min-width: 11em }
    #workbench-table td:nth-child(n+4), #workbench-table th:nth-child(n+4) { text-align: right; white-space: nowrap }
    #workbench-table tbody button, #workbench-table th button { border: 0; padding: 0; text-align: left;
      font-weight: inherit }
    #workbench-table tbody button { text-decoration: underline }
    #workbench-table tr[aria-current] { background: #ffe0b2 }
    :is(#workbench-costs, #workbench-table) :is(button, input):focus-visible { outline: 2px solid #1565c0 }
    .workbench-figure { font: 10px system-ui, sans-serif; fill: #222 }
    @media (prefers-color-scheme: dark) {
      #workbench-costs { background: rgb(40 40 40 / .95); color: #eee; border-color: #666 }
      #workbench-table { background: #282828; color: #eee; border-color: #666 }
      #workbench-table tr[aria-current] { background: #6d4c1d }
      #workbench-costs option { background: #282828 }
      .workbench-figure { fill: #eee } }
    @media print { #workbench-table, #workbench-costs > button { display: none !important }
      #workbench-costs select { border: 0; appearance: none } }`;
  document.head.append(style);
  const box = document.createElement('div'), label = document.createElement('label');
  const menu = document.createElement('select'), legend = document.createElement('ol'), note = document.createElement('div');
  box.id = 'workbench-costs';
  label.append('Colour: ', menu);
  box.append(label, legend, note);
  for (const [value, text] of [['', 'kind of operator'], ...keys.map(key => [key, words[key]])]) menu.add(new Option(text, value));
  // It begins with what was measured, if anything was, and else with what was counted.
  menu.value = [...keys].reverse().find(key => ['spikes', 'error', 'seconds'].includes(key))
    || ['macs', 'parameters'].find(key => costs.nodes.some(node => node[key])) || '';
  document.body.append(box);
  // Nodes as they are drawn, those in opened boxes and subgraphs among them.
  const drawn = drawing => [...drawing && drawing._table ? drawing._table.values() : []].flatMap(entry => [
    ...entry.element && entry.value?.type && entry.value.outputs ? [entry] : [],
    ...(entry.blocks || []).flatMap(part => part._items || []).flatMap(item => item.content && item.content.blocks || [])
      .flatMap(block => drawn(block.target)),
  ]);
  const paint = () => {
    const key = menu.value, entries = drawn(app.target);
    document.querySelectorAll('.workbench-figure').forEach(text => text.remove());
    document.querySelectorAll('[data-workbench-hue]').forEach(part => {
      part.style.removeProperty('fill');
      delete part.dataset.workbenchHue;
    });
    const values = entries.map(entry => given(entry.value)?.[key]).filter(value => typeof value === 'number');
    const most = Math.max(0, ...values);
    legend.replaceChildren(...(key && most ? hues.map(([back, front], step) => {
      const item = document.createElement('li');
      item.textContent = `≤ ${figure(key, most * (step + 1) / hues.length)}`;
      [item.style.background, item.style.color] = [back, front];
      return item;
    }) : []));
    const total = key && costs.total[key];
    note.textContent = total ? `${figure(key, total)} in all${costs.note && key === 'macs' ? costs.note : ''}` : '';
    if (!key) return;
    for (const { value: node, element } of entries) {
      const cost = given(node);
      if (!cost) continue;
      const known = typeof cost[key] === 'number';
      // What costs nothing is grey; so is what is unknown, which says so.
      const step = Math.min(hues.length - 1, Math.floor(hues.length * cost[key] / (most || 1)));
      const [back, front] = known && cost[key] ? hues[step] : ['#9e9e9e', '#000'];
      const own = part => part.closest('.node-block') === element.closest('.node-block');
      for (const part of [...element.querySelectorAll('.node-item-type')].filter(own)) {
        for (const [shape, colour] of [['path', back], ['text', front]]) {
          for (const one of part.querySelectorAll(shape)) {
            one.style.fill = colour;
            one.dataset.workbenchHue = key;
          }
        }
      }
      // Of spikes none is told where there are no neurons, and a silent layer's is.
      if (key === 'spikes' ? !known : known && !cost[key]) continue;
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
  };
  menu.addEventListener('change', paint);
  paint();

  // The table: what it finds, in the file's order or by a column.
  const most = 300;
  const open = document.createElement('button'), panel = document.createElement('section');
  const search = document.createElement('input'), found = document.createElement('span');
  const table = document.createElement('table'), head = table.createTHead().insertRow(), body = table.createTBody();
  open.type = 'button';
  open.textContent = 'Table';
  open.setAttribute('aria-expanded', 'false');
  open.setAttribute('aria-controls', panel.id = 'workbench-table');
  panel.hidden = true;
  panel.tabIndex = 0;
  panel.setAttribute('aria-label', 'Nodes');
  search.type = 'search';
  search.placeholder = 'name, operator or shape, such as 7×7×512';
  search.setAttribute('aria-label', 'Find nodes by name, operator or shape');
  found.setAttribute('role', 'status');
  const form = document.createElement('form');
  form.append(search, found);
  form.addEventListener('submit', event => event.preventDefault());
  panel.append(form, table);
  label.after(open);
  document.body.append(panel);
  const column = { name: 'node', type: 'operator', shape: 'gives', ...Object.fromEntries(keys.map(key => [key, units[key]])) };
  let rows = [], chosen = null, by = '', down = true;
  const list = () => {
    const words = search.value.toLowerCase().replace(/(?<=[\d?])\s*[x*,]\s*(?=[\d?])/g, '×').split(/\s+/).filter(Boolean);
    // A shape is found whole, or as a run of its axes: 7×7 is no part of 17×7.
    const has = (row, word) => row.text.includes(word) ||
      row.shape.toLowerCase().split(', ').some(shape => `×${shape}×`.includes(`×${word}×`));
    let some = rows.filter(row => words.length ? words.every(word => has(row, word)) : !row.box);
    const value = row => by in units ? row.cost[by] ?? -1 : row[by].toLowerCase();
    if (by) some = [...some].sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (down ? -1 : 1));
    const start = Math.max(0, some.findIndex(row => row.node === chosen) - most / 2);
    const shown = some.length > most ? some.slice(start, start + most) : some;
    found.textContent = shown.length < some.length ? `${shown.length} of ${some.length} nodes found` : `${some.length} nodes`;
    [...head.cells].forEach(cell => cell.setAttribute('aria-sort',
      cell.dataset.by !== by ? 'none' : down ? 'descending' : 'ascending'));
    body.replaceChildren(...shown.map(row => {
      const line = document.createElement('tr'), button = document.createElement('button');
      button.type = 'button';
      button.textContent = row.name || `[${row.type}]`;
      line.insertCell().append(button);
      for (const text of [row.type, row.shape, ...keys.map(key =>
        typeof row.cost[key] === 'number' ? figure(key, row.cost[key]) : key === 'spikes' ? '' : '?')]) line.insertCell().textContent = text;
      if (row.node === chosen) line.setAttribute('aria-current', 'true');
      line.addEventListener('click', () => {
        const drawing = app.target, there = drawing.activate(row.node, 'workbench:table');
        const elements = there.length ? there : drawing.activate(row.box || row.node, 'workbench:table');
        app.target.scrollTo(elements.slice(0, 1), 'instant');
      });
      return line;
    }));
    const line = body.querySelector('[aria-current]');
    if (line) line.scrollIntoView({ block: 'nearest' });
  };
  for (const [key, text] of Object.entries(column)) {
    const cell = document.createElement('th'), button = document.createElement('button');
    button.type = 'button';
    button.textContent = text;
    cell.dataset.by = key;
    cell.append(button);
    button.addEventListener('click', () => {
      [by, down] = [key, by === key ? !down : key in units];
      list();
    });
    head.append(cell);
  }
  const follow = () => {
    const graph = app.activeTarget, drawing = app.target;
    // What is in a box is found, and shown by the box.
    const all = (node, box) => [{ node, box, cost: given(node) },
      ...folds(node) ? within(node).flatMap(inner => all(inner, box || node)) : []];
    rows = (graph && graph.nodes || []).flatMap(node => all(node)).filter(row => row.cost)
      .map(row => ({ ...row, name: row.node.name || '', type: row.node.type.name, shape: row.cost.shape || '?' }));
    for (const row of rows) row.text = `${row.name} ${row.type}`.toLowerCase();
    if (drawing) drawing.on('selectionchange', (_, source) => {
      if (source === 'workbench') return;   // marks, which select nothing
      chosen = [...drawing.selection].map(element => element.value).find(value => rows.some(row => row.node === value)) || null;
      if (!panel.hidden) list();
    });
    if (!panel.hidden) list();
  };
  open.addEventListener('click', () => {
    panel.hidden = !panel.hidden;
    open.setAttribute('aria-expanded', String(!panel.hidden));
    if (!panel.hidden) list();
  });
  search.addEventListener('input', list);
  follow();
  // A function's body is another drawing, and so is the graph after it.
  let target = app.target;
  setInterval(() => { if (app.target !== target) { target = app.target; paint(); follow(); } }, 300);
};
