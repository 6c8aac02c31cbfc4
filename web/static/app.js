// The live stream of a page: opened while the page is seen, marked when it is lost, taken up again with a whole snapshot.
"use strict";
(() => {
  const QUIET_MS = 10000;
  const link = document.getElementById("link");
  const words = document.getElementById("link-words");
  let heard = 0;

  function mark(on, text) {
    if (!link) return;
    link.classList.toggle("on", on === true);
    link.classList.toggle("stale", on === false);
    document.body.classList.toggle("stale", on === false);
    link.querySelector(".shape").textContent = on ? "●" : on === false ? "▲" : "○";
    if (words.textContent !== text) words.textContent = text;
  }
  const clock = () => new Date(heard || Date.now()).toISOString().slice(11, 19) + " UTC";
  const lost = () => mark(false, "connection lost, figures as of " + clock());

  // What htmx-ext-sse takes for an EventSource. It reconnects by itself and lets go while nobody looks: a browser allows
  // six connections to a server, and six hidden pages must not keep the seventh from loading.
  class LiveSource {
    constructor(url) {
      this.url = url;
      this.listeners = [];
      this.readyState = 1;
      this.pause = 500;
      this.open();
      document.addEventListener("visibilitychange", () => (document.hidden ? this.rest() : this.open()));
      window.addEventListener("pagehide", () => this.rest());
      window.addEventListener("pageshow", () => this.open());
      setInterval(() => {
        if (!document.hidden && heard && Date.now() - heard > QUIET_MS) { lost(); this.rest(); this.open(); }
      }, 2000);
    }
    open() {
      if (this.source || this.closed) return;
      const source = (this.source = new EventSource(this.url));
      for (const [name, listener] of this.listeners) source.addEventListener(name, listener);
      source.onopen = (e) => { this.pause = 500; if (this.onopen) this.onopen(e); };
      source.onerror = () => {
        lost();
        this.rest();
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.open(), (this.pause = Math.min(this.pause * 2, 8000)));
      };
    }
    rest() { if (this.source) { this.source.close(); this.source = null; } }
    close() { this.closed = true; this.rest(); }
    addEventListener(name, listener) {
      const heardListener = (e) => { heard = Date.now(); mark(true, "live"); listener(e); };
      this.listeners.push([name, heardListener, listener]);
      if (this.source) this.source.addEventListener(name, heardListener);
    }
    removeEventListener(name, listener) {
      const found = this.listeners.find((l) => l[0] === name && l[2] === listener);
      if (!found) return;
      this.listeners = this.listeners.filter((l) => l !== found);
      if (this.source) this.source.removeEventListener(name, found[1]);
    }
  }
  htmx.createEventSource = (url) => new LiveSource(url);

  // A fold that a person has opened stays open when the part around it is brought up to date.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => !(name === "open" && element.tagName === "DETAILS");

  document.addEventListener("htmx:responseError", (e) => {
    const target = e.detail.target;
    if (target && target.id === "curves") target.innerHTML = '<p class="card empty">The curves could not be computed. Load the page again to repeat.</p>';
  });
})();
