"use strict";
{
  const browser = document.querySelector(".browser");
  const [neighbours, apart] = JSON.parse(document.getElementById("near-photos").textContent);
  const clusters = browser.querySelector(".clusters");
  const all = [...clusters.children];
  const photos = [...clusters.querySelectorAll(".photo")];
  const near = browser.querySelector(".near");
  const tools = browser.querySelector(".tools");
  const texts = new Map(all.map((one) => [one, [one.querySelector("summary").textContent,
    ...[...one.querySelectorAll(".photo")].map((photo) => photo.ariaLabel)].join("\n").toLowerCase()]));

  for (const one of document.querySelectorAll(".with-script")) one.hidden = false;
  for (const photo of browser.querySelectorAll(".photo")) {
    photo.title = photo.ariaLabel;
    photo.tabIndex = 0;
  }

  const copyOf = (number, distance) => {
    const copy = photos[number].cloneNode();
    copy.dataset.distance = distance;
    return copy;
  };

  const show = (number) => {
    const cluster = photos[number].closest("details");
    const head = document.createElement("p");
    head.textContent = `${photos[number].ariaLabel}; distances to it of those nearest:`;
    const row = document.createElement("div");
    row.className = "photos";
    row.append(copyOf(number, "0"), ...neighbours[number].map((other, place) => copyOf(other, apart[number][place])));
    const buttons = [[`Cluster ${cluster.dataset.number}`, () => { cluster.hidden = false; cluster.open = true; cluster.scrollIntoView(); }],
      ["Close", () => { near.hidden = true; }]];
    near.replaceChildren(head, row, ...buttons.map(([text, action]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.onclick = action;
      return button;
    }));
    near.hidden = false;
  };

  browser.addEventListener("click", (event) => {
    const photo = event.target.closest(".photo");
    if (photo) show(Number(photo.dataset.photo));
  });
  browser.addEventListener("keydown", (event) => {
    if (event.key === "Escape") near.hidden = true;
    if (event.key === "Enter" && event.target.matches(".photo")) show(Number(event.target.dataset.photo));
  });

  const apply = () => {
    const wanted = tools.elements.find.value.trim().toLowerCase();
    const order = tools.elements.order.value;
    const found = all.filter((one) => /^\d+$/.test(wanted) ? one.dataset.number === String(Number(wanted)) : texts.get(one).includes(wanted));
    for (const one of all) one.hidden = !found.includes(one);
    clusters.append(...[...all].sort((a, b) => a.dataset[order] - b.dataset[order]));
    tools.querySelector("output").textContent = wanted ? `${found.length} of ${all.length} clusters` : "";
    if (found.length === 1) found[0].open = true;
  };
  tools.addEventListener("input", apply);
  tools.addEventListener("submit", (event) => event.preventDefault());
}
