// Follows the sandbox: asks for the page again, and exchanges what has changed. Without it the page reloads itself.
"use strict";
(() => {
  const EVERY_MS = 1000;
  const live = document.getElementById("live");
  const filter = document.getElementById("filter");
  let tag = "";

  function times(root) {
    const today = new Date().toDateString();
    for (const time of root.querySelectorAll("time[data-show]")) {
      const moment = new Date(time.dateTime);
      const clock = { hour: "2-digit", minute: "2-digit" };
      const date = { day: "numeric", month: "short" };
      const same = moment.toDateString() === today;
      const shown = {
        time: () => moment.toLocaleTimeString([], clock),
        short: () => (same ? moment.toLocaleTimeString([], clock) : moment.toLocaleDateString([], date)),
        day: () => (same ? "Today" : moment.toLocaleDateString([], { weekday: "long", ...date, year: "numeric" })),
      };
      time.textContent = shown[time.dataset.show]();
    }
  }

  function narrow() {
    const wanted = filter.value.trim().toLowerCase();
    for (const row of document.querySelectorAll("#rows > li")) {
      row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
    }
  }

  function isAtEnd(stream) {
    return !stream || stream.scrollHeight - stream.scrollTop - stream.clientHeight < 80;
  }

  function toEnd() {
    const stream = document.getElementById("stream");
    if (!stream) return;
    stream.scrollTop = stream.scrollHeight;
    for (const picture of stream.querySelectorAll("img")) {
      if (!picture.complete) picture.addEventListener("load", () => { stream.scrollTop = stream.scrollHeight; }, { once: true });
    }
  }

  function exchange(fresh) {
    const old = document.getElementById("stream");
    const known = new Set([...document.querySelectorAll(".message")].map((each) => each.id));
    const place = old && old.scrollTop;
    const atEnd = isAtEnd(old);
    const before = old && old.dataset.conversation;
    const listPlace = document.getElementById("rows").scrollTop;
    const focused = document.activeElement && document.activeElement.id;
    times(fresh);
    for (const id of ["figures", "rows", "thread"]) {
      const part = fresh.getElementById(id);
      const there = document.getElementById(id);
      if (part.outerHTML !== there.outerHTML) there.replaceWith(document.adoptNode(part));
    }
    document.title = fresh.title;
    document.getElementById("rows").scrollTop = listPlace;
    const stream = document.getElementById("stream");
    if (stream && stream !== old) {
      if (before === stream.dataset.conversation) {
        for (const each of stream.querySelectorAll(".message")) {
          if (!known.has(each.id)) each.classList.add("fresh");
        }
      }
      if (atEnd || before !== stream.dataset.conversation) toEnd();
      else stream.scrollTop = place;
    }
    if (focused && document.activeElement.id !== focused) {
      const again = document.getElementById(focused);
      if (again) again.focus({ preventScroll: true });
    }
    narrow();
  }

  async function look() {
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
        if (answer.status === 200) {
          exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
          tag = answer.headers.get("etag") || "";
        }
        live.classList.remove("lost");
        live.lastElementChild.textContent = "live";
      } catch {
        live.classList.add("lost");
        live.lastElementChild.textContent = "not reachable";
      }
    }
    setTimeout(look, EVERY_MS);
  }

  const site = document.getElementById("site");
  if (site) {
    site.form.querySelector("button").hidden = true;
    site.addEventListener("change", () => site.form.submit());
  }
  filter.hidden = false;
  filter.addEventListener("input", narrow);
  times(document);
  toEnd();
  live.classList.add("on");
  setTimeout(look, EVERY_MS);
})();
