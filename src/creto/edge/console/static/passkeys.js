// Passkeys: one signs a ballot on the page of a request. Making one is in enrol.js, signing in by one in signing.js.
"use strict";
const creto = (() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  async function answered(path, form) {
    const answer = await fetch(path, { method: "POST", body: new URLSearchParams(form) });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error);
    return said;
  }

  async function asserted(challenge, credentials) {
    const found = await navigator.credentials.get({
      publicKey: {
        challenge: bytes(challenge),
        allowCredentials: credentials.map((id) => ({ type: "public-key", id: bytes(id) })),
        userVerification: "required",
      },
    });
    return {
      credential: text(found.rawId),
      authenticator: text(found.response.authenticatorData),
      client: text(found.response.clientDataJSON),
      signature: text(found.response.signature),
      user: text(found.response.userHandle || []),
    };
  }

  // The fields with which the form proves that this human's passkey signed what the form says.
  async function signed(form) {
    const asked = await answered(form.action + "/ballot", new FormData(form));
    if (!asked.credentials.length) throw new Error("You have no passkey for this site yet: add one under Passkeys.");
    const { user, ...proof } = await asserted(asked.challenge, asked.credentials); // whose it is, the session says
    return proof;
  }
  return { bytes, text, answered, asserted, signed };
})();
