// A new result keeps the place of the slider: it is compared with the one before it.
let place = '50';
document.addEventListener('input', event => {
  if (event.target.closest('#photo .compare')) place = event.target.value;
});
new MutationObserver(() => {
  const input = document.querySelector('#photo .compare input');
  if (!input || input.dataset.placed) return;
  input.dataset.placed = '1';
  input.value = place;
  input.parentElement.style.setProperty('--cut', place + '%');
}).observe(document.documentElement, {childList: true, subtree: true});
