// The only script of the page: the divider between a photograph and its repainted copy.
// The range input is what the keyboard and a screen reader use; the pointer works on the whole picture.
(() => {
  "use strict";
  const show = (range) => {
    range.closest(".compare").style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % photograph`);
  };
  const follow = (frame, event) => {
    const range = frame.querySelector("input");
    const box = frame.getBoundingClientRect();
    range.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    show(range);
  };
  for (const frame of document.querySelectorAll(".compare")) {
    const range = frame.querySelector("input");
    show(range); // a reloaded page may remember another value
    range.addEventListener("input", () => show(range));
    frame.addEventListener("pointerdown", (event) => {
      frame.setPointerCapture(event.pointerId);
      range.focus({ preventScroll: true });
      follow(frame, event);
      event.preventDefault();
    });
    frame.addEventListener("pointermove", (event) => {
      if (frame.hasPointerCapture(event.pointerId)) follow(frame, event);
    });
  }
})();
