// Both graphs of a difference: each gets its marks when it is drawn, and a row's node is shown in both.
(() => {
  const text = atob(document.getElementById('values').textContent);
  const { marks, rows } = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, c => c.charCodeAt(0))));
  const frames = [...document.querySelectorAll('figure')].map(figure => figure.querySelector('iframe'));
  window.addEventListener('message', event => {
    const frame = frames.find(one => one && one.contentWindow === event.source);
    if (!frame || !event.data || event.data.type !== 'workbench:netron' || event.data.state !== 'ready') return;
    frame.contentWindow.postMessage({ type: 'workbench:mark', marks: marks[frames.indexOf(frame)] }, '*');
  });
  document.addEventListener('click', event => {
    const row = event.target.closest('button[data-row]');
    if (!row) return;
    rows[row.dataset.row].forEach((value, which) => {
      if (frames[which]) frames[which].contentWindow.postMessage({ type: 'workbench:select', values: value ? [value] : [] }, '*');
    });
    document.querySelector('.wb-two').scrollIntoView({ block: 'nearest' });
  });
})();
