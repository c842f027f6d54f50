// Passkeys: one is made on its own page, and signs a ballot on the page of a request.
"use strict";
const creto = (() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  // The fields with which the form proves that this human's passkey signed what the form says.
  async function signed(form) {
    const answer = await fetch(form.action + "/ballot", { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const asked = await answer.json();
    if (!answer.ok) throw new Error(asked.error);
    if (!asked.credentials.length) throw new Error("You have no passkey for this site yet: add one under Passkeys.");
    const found = await navigator.credentials.get({
      publicKey: {
        challenge: bytes(asked.challenge),
        allowCredentials: asked.credentials.map((id) => ({ type: "public-key", id: bytes(id) })),
        userVerification: "required",
      },
    });
    return {
      credential: text(found.rawId),
      authenticator: text(found.response.authenticatorData),
      client: text(found.response.clientDataJSON),
      signature: text(found.response.signature),
    };
  }

  async function made(form) {
    const about = form.dataset;
    const found = await navigator.credentials.create({
      publicKey: {
        challenge: bytes(about.challenge),
        rp: { name: "creto" },
        user: { id: bytes(about.user), name: about.name, displayName: about.name },
        pubKeyCredParams: about.algorithms.split(",").map((alg) => ({ type: "public-key", alg: Number(alg) })),
        excludeCredentials: about.known.split(" ").filter(Boolean).map((id) => ({ type: "public-key", id: bytes(id) })),
        authenticatorSelection: { userVerification: "required", residentKey: "preferred" },
        attestation: "none",
      },
    });
    form.elements.attestation.value = text(found.response.attestationObject);
    form.elements.client.value = text(found.response.clientDataJSON);
  }

  const enrol = document.getElementById("enrol");
  if (enrol) {
    enrol.addEventListener("submit", (event) => {
      if (enrol.elements.attestation.value) return;
      event.preventDefault();
      made(enrol).then(
        () => enrol.submit(),
        (error) => {
          const trouble = document.getElementById("trouble");
          trouble.textContent = "No passkey was made: " + error.message;
          trouble.hidden = false;
        },
      );
    });
  }
  return { signed };
})();
