'use strict';
document.addEventListener('input', event => {
  if (event.target.id === 'find') show();
});
document.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.only !== undefined) {
    for (const other of document.querySelectorAll('[data-only]'))
      other.setAttribute('aria-pressed', String(other === button));
    show();
  }
  if (button.id === 'boxes') {
    const on = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(on));
    for (const tag of document.querySelectorAll('.tag')) tag.hidden = !on;
  }
  if (button.id === 'save') save();
});
function show() {
  const only = document.querySelector('[data-only][aria-pressed=true]').dataset.only;
  const words = document.getElementById('find').value.toLowerCase();
  for (const photo of document.querySelectorAll('.photo'))
    photo.hidden = (only && photo.dataset.kind !== only) || !photo.dataset.name.toLowerCase().includes(words);
}
function save() {
  const records = [...document.querySelectorAll('script.record')].map(s => JSON.parse(s.textContent));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(records, null, 1)], {type: 'application/json'}));
  link.download = 'report.json';
  link.click();
  URL.revokeObjectURL(link.href);
}
