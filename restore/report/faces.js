// A slider is a range input over both pictures: mouse, touch and arrow keys come with it.
document.addEventListener('input', event => {
  const box = event.target.closest('.compare');
  if (box) box.style.setProperty('--cut', event.target.value + '%');
});
