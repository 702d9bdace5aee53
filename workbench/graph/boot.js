(async () => {
  const nonce = document.currentScript.nonce;
  const root = document.documentElement;
  let about = {};
  const tell = (state, message) => {
    root.dataset.netron = state;
    if (window.parent !== window) window.parent.postMessage({ type: 'workbench:netron', state, message }, '*');
  };
  const fail = message => {
    if (root.dataset.netron) return;
    const body = document.createElement('body');
    body.style.cssText = 'font: 13px/1.5 sans-serif; margin: 0; padding: 2em; overflow: auto; height: auto';
    body.textContent = `Netron cannot show ${about.title || 'this model'}: ${message}`;
    document.body.replaceWith(body);
    tell('failed', message);
  };
  try {
    const bytes = async id => new Uint8Array(await new Response(new Blob([Uint8Array.from(
      atob(document.getElementById(id).textContent.trim()), c => c.charCodeAt(0))]).stream()
      .pipeThrough(new DecompressionStream('gzip'))).arrayBuffer());
    const utf8 = new TextDecoder(), json = async id => JSON.parse(utf8.decode(await bytes(id)));
    about = await json('about');
    const engine = await json('engine'), files = { [about.file]: await bytes('model') };
    for (const [name, text] of Object.entries(await json('files'))) files[name] = new TextEncoder().encode(text);
    const file = url => files[String(url).split(/[?#]/)[0].split('/').pop()];

    // One ES module becomes one function, made by an inline script: some notebooks refuse blob: and data: modules.
    const cache = {}, base = id => String(id).split('/').pop();
    const factory = id => {
      const key = '__netron_' + id.replace(/\W/g, '_');
      if (!window[key]) {
        const script = document.createElement('script');
        script.nonce = nonce;
        script.textContent = `window.${key} = function(__exports, __load, __import, self) { "use strict";` +
          `${engine.modules[id]}\n};//# sourceURL=netron/${id}`;
        document.head.append(script);
        script.remove();
      }
      return window[key];
    };
    // Formats that are not in this page: Netron asks each in turn whether the file is its own.
    class Absent { async match() { return null; } }
    const load = id => {
      id = base(id);
      if (!(id in engine.modules)) return { ModelFactory: Absent };
      if (!cache[id]) { const exports = cache[id] = {}; factory(id)(exports, load, dynamic, window); }
      return cache[id];
    };
    const dynamic = async id => load(id);

    // The platform Netron talks to: files come from this page, nothing else answers.
    window.XMLHttpRequest = class {
      open(method, url) { this.url = url; }
      setRequestHeader() {}
      abort() {}
      send() {
        const data = file(this.url);
        setTimeout(() => {
          this.status = data ? 200 : 404;
          this.readyState = 4;
          if (this.responseType === 'arraybuffer') this.response = data ? data.slice().buffer : new ArrayBuffer(0);
          else this.response = this.responseText = data ? utf8.decode(data) : '';
          if (this.onload) this.onload({});
        });
      }
    };
    window.fetch = async url => new Response(file(url) || null, { status: file(url) ? 200 : 404 });
    navigator.sendBeacon = () => false;
    Object.defineProperty(document, 'cookie', { get: () => 'consent=1', set: () => {} });
    window.Worker = class extends EventTarget {   // works in the page: blob: workers are refused by some hosts
      constructor(url) {
        super();
        this.inbox = [];
        const ears = this.ears = [];
        factory(base(url))({}, load, dynamic, {
          addEventListener: (type, ear) => { ears.push(ear); this.inbox.splice(0).forEach(data => ear({ data })); },
          postMessage: data => this.dispatchEvent(new MessageEvent('message', { data })) });
      }
      postMessage(data) {
        if (this.ears.length) this.ears.forEach(ear => ear({ data }));
        else this.inbox.push(data);
      }
      terminate() { this.ears.length = 0; }
    };
    // An output must not take the keyboard from the notebook: no focus of its own accord before a click in the view.
    // With the click the keyboard is the view's, or the next key would be a command to the notebook (dd deletes it).
    let touched = false;
    window.addEventListener('pointerdown', () => { touched = true; window.focus(); }, true);
    for (const proto of [HTMLElement.prototype, SVGElement.prototype]) {
      const focus = proto.focus;
      proto.focus = function(...args) { if (touched) focus.apply(this, args); };
    }

    root.innerHTML = engine.page;
    for (const [name, content] of [['file', '/data/' + about.file], ['name', about.title]]) {
      const meta = document.createElement('meta');
      meta.name = name;
      meta.content = content;
      document.head.append(meta);
    }
    const notes = () => {
      if (!about.notes.length) return;
      const style = document.createElement('style');
      style.textContent = `
        html { box-sizing: border-box; padding-top: 24px; background: #fff8e1 }
        body { contain: layout }  /* what Netron fixes to the window then starts below the line */
        #workbench-notes { position: fixed; inset: 0 0 auto 0; z-index: 9; box-sizing: border-box; max-height: 60%;
          overflow: auto; padding: 0 10px; font: 12px/24px sans-serif; background: #fff8e1; color: #4e3b00;
          border-bottom: 1px solid #e0cf9a }
        #workbench-notes summary { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; cursor: pointer }
        #workbench-notes p { margin: 0 0 4px 16px; line-height: 18px }
        @media (prefers-color-scheme: dark) {
          html { background: #3a3421 }
          #workbench-notes { background: #3a3421; color: #f0e2b6; border-color: #5c5333 } }`;
      document.head.append(style);
      const box = document.createElement(about.notes.length > 1 ? 'details' : 'div');
      box.id = 'workbench-notes';
      about.notes.forEach((note, index) => {
        const line = document.createElement(index ? 'p' : 'summary');
        line.textContent = line.title = note;
        box.append(line);
      });
      root.append(box);
    };
    notes();

    // Netron writes some of a model's own words as HTML. Scripts in them cannot run here (the policy); this keeps
    // out what else could reach beyond the page, such as a refresh to another address.
    const markup = Object.getOwnPropertyDescriptor(Element.prototype, 'innerHTML');
    Object.defineProperty(Element.prototype, 'innerHTML', { ...markup, set(value) {
      // Parsed in a document that loads and runs nothing.
      const box = new DOMParser().parseFromString(`<body>${value ?? ''}`, 'text/html').body;
      for (const element of box.querySelectorAll('*')) {
        if (/^(script|style|iframe|frame|object|embed|link|meta|base|form|img|image|audio|video|source|template)$/i
            .test(element.localName)) { element.remove(); continue; }
        for (const { name, value } of [...element.attributes]) {
          if (/^on/i.test(name) || (/(href|src|action)$/i.test(name) && !/^(https?:|#)/i.test(value.trim()))) {
            element.removeAttribute(name);
          }
        }
        if (element.localName === 'a') { element.target = '_blank'; element.rel = 'noopener noreferrer'; }
      }
      this.replaceChildren(...box.childNodes);
    } });

    const browser = load('browser.js'), view = load('view.js');
    const host = new (browser.Host || browser.BrowserHost)();
    host.openURL = url => { window.open(url, '_blank', 'noopener'); };
    const execute = host.execute;
    host.execute = async function(name, ...rest) {
      if (name !== 'open') return execute.call(this, name, ...rest);
      return this.message('This page holds one model. Open others from the workbench.', false, 'OK');
    };
    // While a frame is out of sight, a browser may at first give the labels of edges no size, and without one Netron
    // finds no place for them (NaN): they are measured again.
    const graphs = load('grapher.js').Graph.prototype, measure = graphs.measure;
    graphs.measure = function() {
      for (const { label } of this.edges.values()) {
        if (!label.labelElement || label.width) continue;
        const box = label.labelElement.getBBox();
        [label.width, label.height] = [Math.max(box.width, 1), Math.max(box.height, 1)];
      }
      return measure.call(this);
    };
    const app = window.__view__ = new view.View(host);

    // start() does not return while Netron shows an alert, so its text is looked for from outside.
    const drawn = () => document.querySelector('#canvas .node, #target svg .node, .canvas .node');
    const watch = setInterval(() => {
      if (root.dataset.netron) return clearInterval(watch);
      const text = document.getElementById('message-text');
      if (drawn() && document.body.classList.contains('default')) tell('ready');
      else if (document.body.classList.contains('alert') && text && text.innerText.trim()) fail(text.innerText.trim());
    }, 50);
    // Nodes are asked for by the values they give: unlike names, every node has one, and no other node has the same.
    const gives = (node, values) => node.outputs.map(output => Array.isArray(output.value) ? output.value : [])
      .flat().map(value => value.name).find(name => values.has(name));
    // The page around may be dark where the system is light: its word counts for the rules that ask the system.
    const asked = new Set();
    let dark = null;
    const dress = () => {
      if (dark === null) return;
      for (const rule of [...document.styleSheets].flatMap(sheet => [...sheet.cssRules])) {
        if (rule instanceof CSSMediaRule && /prefers-color-scheme: *dark/.test(rule.conditionText)) asked.add(rule);
      }
      root.style.colorScheme = dark ? 'dark' : 'light';
      for (const rule of asked) rule.media.mediaText = dark ? 'all' : 'not all';
    };
    // Marks stay while nodes are selected: a line of its own sort around each, so that nobody needs to see colours.
    const mark = marks => {
      const values = new Map(Object.entries(marks)), graph = app.activeTarget, target = app.target;
      for (const node of graph ? graph.nodes : []) {
        const value = gives(node, values);
        if (value === undefined) continue;
        for (const element of target.select([node], 'workbench')) element.classList.add(`workbench-${values.get(value)}`);
      }
      if (target) target.select([], 'workbench');
    };
    // The whole graph, or the nodes that are marked, as large as the frame allows.
    const fit = marked => {
      const target = app.target, box = document.getElementById('target'), canvas = document.getElementById('canvas');
      if (!target || !canvas) return;
      const shown = [...canvas.querySelectorAll(marked ? '.select' : '.node')];
      const edges = shown.map(element => element.getBoundingClientRect());
      const span = (from, to) => Math.max(...edges.map(edge => edge[to])) - Math.min(...edges.map(edge => edge[from]));
      target.zoom *= 0.9 * Math.min(box.clientWidth / span('left', 'right'), box.clientHeight / span('top', 'bottom'));
      target.scrollTo(shown, 'instant');
    };
    window.addEventListener('message', async event => {
      if (event.source !== window.parent || !event.data) return;
      if (event.data.type === 'workbench:mark') return mark(event.data.marks);
      if (event.data.type === 'workbench:fit') return fit(event.data.marked);
      if (event.data.type === 'workbench:theme') {
        dark = event.data.dark;
        return dress();
      }
      if (event.data.type !== 'workbench:select') return;
      const values = new Set(Array.isArray(event.data.values) ? event.data.values : []);
      while (app._path.length > 1) await app.popTarget();   // out of a function's body
      const graph = app.activeTarget, target = app.target;
      if (!graph || !target) return;
      const chosen = graph.nodes.filter(node => gives(node, values) !== undefined);
      const elements = target.select(chosen, 'workbench');
      const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
      target.scrollTo(elements.slice(0, 1), still ? 'instant' : 'smooth');
      window.parent.postMessage({ type: 'workbench:selected', count: chosen.length }, '*');
    });
    await app.start();
    if (about.costs) window.workbenchCosts(app, about.costs);
    dress(); // what came since, too
    if (!root.dataset.netron) tell(drawn() ? 'ready' : 'empty');
  } catch (error) {
    fail(error && error.message || String(error));
    throw error;
  }
})();
