// The code of a link stands behind its #: it reaches the server only by this form. A code that signs in waits for a click.
"use strict";
const form = document.getElementById("sign-in");
const code = location.hash.slice(1).replace(/^link=/, "");
const onward = document.getElementById("go-on");
if (code) {
  history.replaceState(null, "", location.pathname + location.search);
  form.elements.link.value = code;
  form.elements.link.closest(".field").hidden = true;
  document.getElementById("how").textContent = "This one-time link signs you in on this browser.";
}
// Who comes from elsewhere comes without our cookie; from here it goes along.
const known = onward ? fetch(onward.href, { redirect: "manual" }).then((answer) => answer.ok) : Promise.resolve(false);
known.then((signedIn) => {
  if (signedIn) location.replace(onward.href);
  else if (code && !code.startsWith("creto-login.")) form.requestSubmit();
});

// With a passkey. Whoever comes with a link is signed in by that.
const passkey = document.getElementById("with-passkey");
if (passkey && !code) {
  const told = document.getElementById("told");
  const trouble = document.getElementById("trouble");
  document.getElementById(creto.offered ? "passkey-way" : "no-passkeys").hidden = false;
  passkey.addEventListener("click", () => {
    if (passkey.dataset.busy) return;
    passkey.dataset.busy = "1";
    trouble.hidden = true;
    told.textContent = "Waiting for your passkey.";
    creto.signIn(form.elements.next.value).then(
      (to) => location.replace(to),
      (error) => {
        delete passkey.dataset.busy;
        told.textContent = "";
        trouble.textContent = creto.plainly(error);
        trouble.hidden = false;
      },
    );
  });
}
