// JupyterLab's side of the workbench: a model file opened in JupyterLab's file browser, and the tile "Model workbench"
// of the launcher, get a tab with a kernel of its own, and in it the workbench (lab.py).
// Written as what JupyterLab loads of an extension, a container of webpack's module federation, so that nothing has to
// be built. binder/hatch_build.py puts a first line before it: the suffixes of model files, as workbenchSuffixes.
(() => {
  const ID = "onnx-workbench";
  const TITLE = "Model workbench";
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const MANAGER = "@jupyter-widgets/jupyterlab-manager";
  const NOT_SAVED = "A model is not saved from its tab; copy it in the file browser.";
  const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke-width="1.6">
    <path class="jp-icon3" stroke="#616161" d="M12 7v4.5M12 11.5 6.5 16M12 11.5l5.5 4.5"/>
    <g class="jp-icon-brand0" stroke="#1976d2"><circle cx="12" cy="5" r="2.4"/><circle cx="5.5" cy="18" r="2.4"/>
    <circle cx="18.5" cy="18" r="2.4"/></g></svg>`;

  let scope;

  // Of what JupyterLab and its extensions share: the copy that runs already, else the newest.
  async function shared(name) {
    const copies = Object.entries(scope[name] ?? {});
    copies.sort(([a, one], [b, other]) =>
      Boolean(other.loaded) - Boolean(one.loaded) || b.localeCompare(a, "en", { numeric: true }));
    if (!copies.length) throw new Error(`${ID}: this JupyterLab has no ${name}.`);
    return (await copies[0][1].get())();
  }

  async function plugin() {
    const [{ ILayoutRestorer }, { MainAreaWidget, SessionContext, WidgetTracker, showErrorMessage }, { PageConfig },
      { ABCWidgetFactory, DocumentModel, DocumentWidget, TextModelFactory }, { ILauncher }, { IRenderMimeRegistry },
      { LabIcon }, { Signal }, { Panel, Widget }] = await Promise.all([
      "@jupyterlab/application", "@jupyterlab/apputils", "@jupyterlab/coreutils", "@jupyterlab/docregistry",
      "@jupyterlab/launcher", "@jupyterlab/rendermime", "@jupyterlab/ui-components", "@lumino/signaling",
      "@lumino/widgets",
    ].map(shared));

    const icon = new LabIcon({ name: `${ID}:model`, svgstr: ICON });
    const KERNEL = { autoStartDefault: true, shouldStart: true, canStart: true, shutdownOnDispose: true };

    // The workbench on a kernel, or one sentence where there is none.
    class Screen extends Panel {
      // asked() gives what lab.py is asked to show.
      constructor(session, rendermime, asked) {
        super();
        this.node.style.cssText = "overflow: auto; padding: 12px 16px; background: var(--jp-layout-color0)";
        this.session = session;
        // Whose start imports nothing from the model's folder (binder/hatch_build.py).
        session.kernelPreference = { ...session.kernelPreference, name: ID };
        this.asked = asked;
        this.rendermime = rendermime.clone();
        this.turn = 0;
        session.statusChanged.connect((_, status) => {
          if (status === "autorestarting" || status === "dead") this.ended();
        });
        session.sessionChanged.connect((_, { newValue }) => newValue || this.ended());
        this.run();
      }

      ended() {
        if (this.starting || this.isDisposed) return;
        this.turn++;
        this.say("The kernel of this tab has ended, and with it what was not written to a file.", "Start again");
      }

      say(text, action) {
        for (const old of [...this.widgets]) old.dispose();
        const line = document.createElement("p");
        line.setAttribute("role", "status");
        line.style.cssText = "font: 14px/1.5 system-ui, sans-serif; color: var(--jp-ui-font-color1); max-width: 60em";
        line.textContent = text;
        if (action) {
          const button = document.createElement("button");
          button.className = "jp-mod-styled jp-mod-accept";
          button.textContent = action;
          button.onclick = () => this.run();
          button.style.margin = "0 1em";
          line.append(button);
        }
        this.addWidget(new Widget({ node: line }));
      }

      async run() {
        const turn = ++this.turn;
        this.starting = true;
        this.say("Starting the workbench…");
        try {
          const kernel = await this.kernel();
          const manager = await (this.manager ??= this.widgetManager());
          const id = await this.shown(kernel);
          const view = await manager.create_view(await manager.get_model(id));
          if (turn !== this.turn || this.isDisposed) return;
          for (const old of [...this.widgets]) old.dispose();
          this.addWidget(view.luminoWidget);
        } catch (error) {
          if (turn === this.turn && !this.isDisposed) {
            this.say(`The workbench could not be shown: ${error.message ?? error}`, "Try again");
          }
        } finally {
          if (turn === this.turn) this.starting = false;
        }
      }

      async kernel() {
        const { session } = this;
        await session.ready;
        // A dead one may be unknown to the server, which then cannot restart it.
        if (session.session?.kernel?.status === "dead") await session.shutdown().catch(() => {});
        if (!session.session?.kernel) await session.startKernel();
        if (!session.session?.kernel) throw new Error("no kernel could be started.");
        return session.session.kernel;
      }

      // ipywidgets' own, which serves one kernel's widgets; what an earlier load of this page left is read first.
      async widgetManager() {
        if (!window._JUPYTERLAB[MANAGER]) throw new Error("JupyterLab's extension for ipywidgets is not installed.");
        const { registerWidgetManager } = (await window._JUPYTERLAB[MANAGER].get("./extension"))();
        const manager = await new Promise((resolve) => {
          // It takes a document; this one is never saved, and has no widgets in it.
          const document = { sessionContext: this.session, saveState: new Signal({}), model: {}, urlResolver: {} };
          document.model.getMetadata = () => undefined;
          const told = { set manager(manager) { resolve(manager); } };
          this.registered = registerWidgetManager(document, this.rendermime, [told]);
        });
        if (!manager.restoredStatus) await new Promise((resolve) => manager.restored.connect(resolve));
        return manager;
      }

      // The workbench's widget, by its model's id. Names go as JSON in a text of plain ASCII: they are never code. And
      // Python files beside a stranger's model are not among what can be imported.
      async shown(kernel) {
        const ascii = JSON.stringify(this.asked())
          .replace(/[^ -~]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
        const code = `import sys; sys.path[:] = [place for place in sys.path if place]
from workbench.widgets.lab import open_tab; open_tab(${JSON.stringify(ascii)})`;
        const future = kernel.requestExecute({ code, store_history: false });
        let id;
        future.onIOPub = ({ content }) => { id ??= content.data?.[VIEW]?.model_id; };
        const { content } = await future.done;
        if (content.status !== "ok") throw new Error(`${content.ename}: ${content.evalue}`);
        return id;
      }

      dispose() {
        this.registered?.dispose();
        super.dispose();
      }
    }

    // The file itself is not sent to the page, so nothing here may write it.
    class Model extends DocumentModel {
      get collaborative() { return true; } // so that JupyterLab makes no copy of the file as a checkpoint
      toString() { throw new Error(NOT_SAVED); }
    }
    class ModelFactory extends TextModelFactory {
      get name() { return ID; }
      get fileFormat() { return null; }
      createNew(options) { return new Model(options); }
    }

    class WidgetFactory extends ABCWidgetFactory {
      constructor(app, rendermime) {
        super({
          name: TITLE, modelName: ID, fileTypes: [ID, "*"], defaultFor: [ID], readOnly: true, preferKernel: true,
          canStartKernel: true, shutdownOnClose: true, autoStartDefault: true,
        });
        this.app = app;
        this.rendermime = rendermime;
      }

      createNewWidget(context) {
        const { get } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(context), "contentsModel");
        Object.defineProperty(context, "contentsModel", { // what the commands that save look at
          get: () => { const model = get.call(context); return model && { ...model, writable: false }; },
        });
        context.saveAs = () => showErrorMessage(TITLE, NOT_SAVED);
        const content = new Screen(context.sessionContext, this.rendermime, () => ({
          path: context.localPath, root: PageConfig.getOption("serverRoot"), sample: "",
        }));
        const widget = new DocumentWidget({ content, context });
        widget.title.icon = icon;
        widget.toolbar.hide();
        context.pathChanged.connect(() => content.run());
        return widget;
      }
    }

    function activate(app, rendermime, restorer, launcher) {
      const { commands, docRegistry, serviceManager, shell } = app;
      docRegistry.addFileType({
        name: ID, displayName: "Model", extensions: workbenchSuffixes, fileFormat: "base64", contentType: "file", icon,
      });
      docRegistry.addModelFactory(new ModelFactory());
      // The tabs' own kernel is nobody's choice for a notebook.
      const hidden = document.createElement("style");
      hidden.textContent = `.jp-LauncherCard[title="Python 3 (a model's tab)"] { display: none; }`;
      document.head.append(hidden);
      const factory = new WidgetFactory(app, rendermime);
      docRegistry.addWidgetFactory(factory);
      const files = new WidgetTracker({ namespace: `${ID}-files` });
      factory.widgetCreated.connect((_, widget) => {
        files.add(widget);
        widget.context.pathChanged.connect(() => files.save(widget));
      });
      restorer?.restore(files, {
        command: "docmanager:open",
        args: (widget) => ({ path: widget.context.path, factory: TITLE }),
        name: (widget) => widget.context.path,
      });

      const tabs = new WidgetTracker({ namespace: ID });
      commands.addCommand(`${ID}:open`, {
        label: TITLE,
        caption: "What a model file is, its graph, its ONNX form, and both sides' answers",
        icon,
        execute: ({ cwd = "", name = `${ID}-${Date.now()}`, sample = "" }) => {
          const open = tabs.find((tab) => tab.id === name);
          if (open) return shell.activateById(name);
          const session = new SessionContext({
            kernelManager: serviceManager.kernels, sessionManager: serviceManager.sessions,
            specsManager: serviceManager.kernelspecs, path: cwd ? `${cwd}/${name}` : name, name: TITLE, type: "file",
            kernelPreference: KERNEL,
          });
          session.initialize();
          const content = new Screen(session, rendermime, () => ({ path: "", root: "", sample }));
          content.disposed.connect(() => session.dispose());
          const tab = new MainAreaWidget({ content });
          tab.asked = { cwd, name, sample };
          tab.id = name;
          tab.title.label = TITLE;
          tab.title.icon = icon;
          tab.title.closable = true;
          tab.toolbar.hide();
          tabs.add(tab);
          shell.add(tab, "main");
        },
      });
      restorer?.restore(tabs, { command: `${ID}:open`, args: (tab) => tab.asked, name: (tab) => tab.id });
      launcher?.add({ command: `${ID}:open`, category: "Other", rank: 0 });

      // …/lab/tree/FOLDER?workbench=SAMPLE lands in a workbench with that sample picked.
      const address = new URL(window.location.href);
      const sample = address.searchParams.get("workbench");
      if (sample === null) return;
      app.restored.then(() => {
        const now = new URL(window.location.href);
        now.searchParams.delete("workbench"); // to load the page again is not to ask again
        window.history.replaceState({}, "", now);
        commands.execute(`${ID}:open`, { cwd: PageConfig.getOption("treePath"), name: `${ID}-start`, sample });
      });
    }

    return {
      id: `${ID}:plugin`, description: "A model file opens in the workbench.", autoStart: true, activate,
      requires: [IRenderMimeRegistry], optional: [ILayoutRestorer, ILauncher],
    };
  }

  (window._JUPYTERLAB ??= {})[ID] = {
    init: (given) => { scope = given; },
    get: async () => {
      const made = { __esModule: true, default: await plugin() };
      return () => made;
    },
  };
})();
