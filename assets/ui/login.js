/* The login form: sends name and password once, and shows an error as one sentence. */
(() => {
  "use strict";
  const form = document.getElementById("door"), wrong = document.getElementById("wrong"), button = form.querySelector("button");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    wrong.textContent = "";
    try {
      const answer = await fetch("./login", { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (answer.ok) return location.reload();
      wrong.textContent = answer.status === 429 ? `${await answer.text()}.` : "That is not the name and password. Try again.";
    } catch {
      wrong.textContent = "The server does not answer. Try again in a moment.";
    }
    button.disabled = false;
    form.elements.password.select();
  });
})();
