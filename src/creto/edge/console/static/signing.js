// Signing in with a passkey: on the sign-in, or on the spot where a session has ended while somebody wrote.
"use strict";
Object.assign(creto, {
  // Browsers have passkeys for host names, not for addresses that are numbers.
  offered: Boolean(window.PublicKeyCredential) && !/^[\d.]+$|^\[/.test(location.hostname),

  // Whoever has a passkey here is signed in; where to go on from there. The passkey is asked which it is: nobody is named.
  async signIn(next) {
    const { challenge } = await creto.answered("/login/challenge", {});
    return (await creto.answered("/login/passkey", { ...(await creto.asserted(challenge, [])), next })).to;
  },

  // A browser says nothing more of who has no passkey, or has changed their mind.
  plainly(error) {
    return error.name === "NotAllowedError" ? "No passkey signed you in. Try again, or use a login link." : error.message;
  },

  // Beside what says that the session has ended; `renewed` once it has not.
  stay(line, tell, renewed) {
    if (!creto.offered) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "second";
    button.textContent = "Sign in with a passkey";
    button.addEventListener("click", () => {
      if (button.dataset.busy) return;
      button.dataset.busy = "1";
      tell("Waiting for your passkey.");
      creto.signIn("/").then(() => creto.renew(line, tell, renewed)).catch((error) => {
        delete button.dataset.busy;
        line.firstChild.textContent = creto.plainly(error) + " ";
      });
    });
    line.append(" or stay here and ", button);
  },

  // The same page under the new session: what was written stays; who is signed in, and the token of every form, are made anew.
  async renew(line, tell, renewed) {
    const now = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
    const token = now.querySelector("#card input[name=token]");
    if (!token) { // decided meanwhile, or not for whoever is signed in now
      line.textContent = "You are signed in again, but there is nothing left here for you to decide. Keep a copy of what you wrote.";
      return;
    }
    const form = line.closest("form");
    document.querySelectorAll("input[name=token]").forEach((one) => { one.value = token.value; });
    document.querySelector(".top").replaceWith(now.querySelector(".top"));
    line.remove();
    tell("You are signed in again, and what you wrote is still here. Send it once more.");
    form.querySelector("[type=submit]").focus();
    renewed();
  },
});
