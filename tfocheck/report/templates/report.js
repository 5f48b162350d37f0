"use strict";
(() => {
  const cases = [...document.querySelectorAll("details.case")];
  const form = document.querySelector("form.filter");
  if (!form) return;
  const shown = document.getElementById("shown");
  const isVisible = (each) => each.getClientRects().length > 0;

  const count = () => {
    const visible = cases.filter(isVisible).length;
    shown.textContent = visible < cases.length ? `${visible} of ${cases.length} cases shown` : "";
  };
  form.addEventListener("change", count);
  form.addEventListener("reset", () => setTimeout(count));
  form.addEventListener("submit", (event) => event.preventDefault());

  form.querySelector(".folding").hidden = false;
  const fold = (open) => () => cases.filter(isVisible).forEach((each) => { each.open = open; });
  document.getElementById("open-all").addEventListener("click", fold(true));
  document.getElementById("close-all").addEventListener("click", fold(false));

  const follow = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (!isVisible(target)) {
      form.reset();
    }
    if (target.matches("details")) {
      target.open = true;
      target.querySelector("summary").focus({ preventScroll: true });
    }
    target.scrollIntoView();
  };
  window.addEventListener("hashchange", follow);
  follow();
  count();
})();
