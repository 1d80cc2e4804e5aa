// A page with data-live follows what its address sends: each message is the page's live part,
// of which the sections that have changed are put in. Without this script the page shows the
// same after a reload.
"use strict";

// A link to log in has its code after the "#", which no browser sends. It goes into the form's
// field, and out of the address. Without this script it is copied by hand.
(() => {
  const code = document.querySelector("[data-code]");
  if (!code || location.hash.length < 2) return;
  code.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  document.getElementById("enter").focus();
})();

(() => {
  const live = document.querySelector("[data-live]");
  if (!live || !window.EventSource) return;
  const state = document.querySelector("[data-live-state]");
  const announcer = document.querySelector("[data-announcer]");
  const say = (text) => { if (state) state.textContent = text; };
  const source = new EventSource(live.dataset.live);
  let lost = 0; // a stream ends each minute, and the next one begins: only a longer gap is said
  source.addEventListener("open", () => { clearTimeout(lost); say("This page updates itself."); });
  source.addEventListener("error", () => {
    clearTimeout(lost);
    const closed = source.readyState === EventSource.CLOSED;
    lost = setTimeout(say, closed ? 0 : 5000, closed ? "This page does not update itself any more." : "The connection is lost: trying again.");
  });
  source.addEventListener("message", (event) => {
    const next = new DOMParser().parseFromString(event.data, "text/html");
    for (const part of next.querySelectorAll("[data-part]")) {
      const old = live.querySelector(`[data-part="${part.dataset.part}"]`);
      if (!old || old.outerHTML === part.outerHTML) continue;
      const says = part.dataset.announce;
      if (says && says !== old.dataset.announce && announcer) announcer.textContent = says;
      if (old.contains(document.activeElement)) continue; // what somebody is in stays until they leave it
      const open = Array.from(old.querySelectorAll("details"), (d) => d.open);
      part.querySelectorAll("details").forEach((d, i) => { d.open = Boolean(open[i]); });
      old.replaceWith(document.adoptNode(part));
    }
  });
  addEventListener("pagehide", () => source.close());
})();

// Files can be dropped anywhere into a page that has a form for files: it is sent at once.
// Without this script they are dropped on its field.
(() => {
  const form = document.querySelector("form[data-drop]");
  if (!form) return;
  const field = form.querySelector('input[type="file"]');
  const small = () => {
    const size = Array.from(field.files).reduce((sum, file) => sum + file.size, 0);
    field.setCustomValidity(size > form.dataset.most * 1048576 ? `This is more than ${form.dataset.most} MiB.` : "");
    return form.reportValidity();
  };
  field.addEventListener("change", small);
  const hasFiles = (event) => event.dataTransfer.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    form.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) form.classList.remove("dropping"); });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    form.classList.remove("dropping");
    field.files = event.dataTransfer.files;
    if (small()) form.requestSubmit();
  });
})();
