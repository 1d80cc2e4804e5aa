// A page with data-live follows what its address sends: each message is the page's live part,
// of which the sections that have changed are put in. Without this script the page shows the
// same after a reload.
"use strict";
(() => {
  const live = document.querySelector("[data-live]");
  if (!live || !window.EventSource) return;
  const state = document.querySelector("[data-live-state]");
  const say = (text) => { if (state) state.textContent = text; };
  const source = new EventSource(live.dataset.live);
  source.addEventListener("open", () => say("Updates itself."));
  source.addEventListener("error", () => say(source.readyState === EventSource.CLOSED
    ? "Does not update itself now: reload the page." : "The connection is lost: trying again."));
  source.addEventListener("message", (event) => {
    const next = new DOMParser().parseFromString(event.data, "text/html");
    for (const part of next.querySelectorAll("[data-part]")) {
      const old = live.querySelector(`[data-part="${part.dataset.part}"]`);
      // What somebody is in stays as it is, until they leave it.
      if (old && old.outerHTML !== part.outerHTML && !old.contains(document.activeElement)) old.replaceWith(document.adoptNode(part));
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
