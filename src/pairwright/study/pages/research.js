"use strict";
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const link = new URL(button.dataset.link, location.href).href;
    try {
      await navigator.clipboard.writeText(link);
      button.textContent = "copied";
    } catch {
      prompt("The link:", link); // the clipboard is closed to pages without https
    }
  });
}
for (const each of document.querySelectorAll("time")) each.textContent = new Date(each.dateTime).toLocaleString();
