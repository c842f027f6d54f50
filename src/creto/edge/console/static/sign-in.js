// The code of a link stands behind its #: it reaches the server only by this form, with a click.
"use strict";
const form = document.getElementById("sign-in");
const code = location.hash.slice(1).replace(/^link=/, "");
const onward = document.getElementById("go-on");
if (code) {
  history.replaceState(null, "", location.pathname + location.search);
  form.elements.link.value = code;
  form.elements.link.closest(".field").hidden = true;
  document.getElementById("how").textContent = "This one-time link signs you in on this browser.";
} else if (onward) {
  // A link from elsewhere arrives without our cookie; from here it goes along.
  fetch(onward.href, { redirect: "manual" }).then((answer) => {
    if (answer.ok) location.replace(onward.href);
  });
}
