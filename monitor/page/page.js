// The page is whole without this, which only asks for it again and changes what has changed, so that the focus, the
// place and what is typed or marked stay.
const every = 5000;
const pause = document.getElementById("pause");
const lost = document.getElementById("lost");
let paused = false;

function morph(old, now) {
  if (old.isEqualNode(now)) return;
  if (old.nodeName !== now.nodeName || old.id !== now.id) return old.replaceWith(now);
  if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = now.nodeValue; return; }
  for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const children = [...now.childNodes];
  children.forEach((child, i) => old.childNodes[i] ? morph(old.childNodes[i], child) : old.append(child));
  while (old.childNodes.length > children.length) old.lastChild.remove();
}

async function refresh() {
  if (paused || document.hidden) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(2 * every) });
    if (!answer.ok) throw new Error(answer.status);
    const now = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["icon", "asof", "main"]) morph(document.getElementById(id), now.getElementById(id));
    document.title = now.title;
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Resume" : "Pause";
  refresh();
});
document.addEventListener("visibilitychange", refresh);
(async () => { for (;;) { await new Promise((done) => setTimeout(done, every)); await refresh(); } })();
